"""Deployment targets: one module for each, listed in `targets/__init__.py`.

A target is imported when it is asked for, and imports its runtime on use, so that a missing runtime affects only that
target.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping

from lorkit.decompose.errors import unknown
from lorkit.export.targets.base import MODEL, Availability, Engine, Target, missing

__all__ = ["MODEL", "TARGETS", "Availability", "Engine", "Target", "get_target", "missing"]

_HOMES = {
    "aoti": "aoti.target",
    "monai": "monai.target",
    "onnx": "onnx",
    "onnx-adapters": "onnx_adapters.target",
    "openvino": "openvino",
    "torch-trt": "tensorrt.torch_trt",
    "triton": "triton",
    "trt": "tensorrt.trt",
    "trt-rtx": "tensorrt.trt_rtx",
}
"""The module of each target below this package."""


class _Targets(Mapping[str, Target]):
    """The targets by name; each is imported on first use."""

    def __getitem__(self, name: str) -> Target:
        target: Target = importlib.import_module(f"{__name__}.{_HOMES[name]}").TARGET
        return target

    def __iter__(self) -> Iterator[str]:
        return iter(_HOMES)

    def __len__(self) -> int:
        return len(_HOMES)


TARGETS: Mapping[str, Target] = _Targets()


def get_target(name: str) -> Target:
    """Return a target by name; raise UsageError with the known ones."""
    if name not in TARGETS:
        raise unknown("target", name, TARGETS)
    return TARGETS[name]
