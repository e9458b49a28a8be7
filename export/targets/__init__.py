"""Deployment targets: one module for each, listed in `targets/__init__.py`.

A target imports its runtime on use, so that a missing runtime affects only that target.
"""

from __future__ import annotations

from lorkit.decompose.errors import unknown
from lorkit.export.targets.aoti.target import TARGET as AOTI
from lorkit.export.targets.base import MODEL, Availability, Engine, Target, missing
from lorkit.export.targets.monai.target import TARGET as MONAI
from lorkit.export.targets.onnx import TARGET as ONNX
from lorkit.export.targets.onnx_adapters.target import TARGET as ONNX_ADAPTERS
from lorkit.export.targets.openvino import TARGET as OPENVINO
from lorkit.export.targets.tensorrt.torch_trt import TARGET as TORCH_TRT
from lorkit.export.targets.tensorrt.trt import TARGET as TRT
from lorkit.export.targets.tensorrt.trt_rtx import TARGET as TRT_RTX
from lorkit.export.targets.triton import TARGET as TRITON

__all__ = ["MODEL", "TARGETS", "Availability", "Engine", "Target", "get_target", "missing"]

_ALL: tuple[Target, ...] = (AOTI, MONAI, ONNX, ONNX_ADAPTERS, OPENVINO, TORCH_TRT, TRITON, TRT, TRT_RTX)
TARGETS: dict[str, Target] = {target.name: target for target in _ALL}


def get_target(name: str) -> Target:
    """Return a target by name; raise UsageError with the known ones."""
    if name not in TARGETS:
        raise unknown("target", name, TARGETS)
    return TARGETS[name]
