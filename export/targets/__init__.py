"""Deployment targets: one module for each, listed here.

Modules import their runtime when it is used, not when they are listed, so a missing runtime is something a target
tells, not something that breaks.
"""

from __future__ import annotations

from lorkit.decompose.errors import unknown
from lorkit.export.targets import aoti, monai, onnx, openvino, torch_trt, triton, trt, trt_rtx
from lorkit.export.targets.base import MODEL, Availability, Engine, HardwareBound, Target, missing

__all__ = ["MODEL", "TARGETS", "Availability", "Engine", "HardwareBound", "Target", "get_target", "missing"]

_ALL: tuple[Target, ...] = (
    aoti.TARGET,
    monai.TARGET,
    onnx.TARGET,
    openvino.TARGET,
    torch_trt.TARGET,
    triton.TARGET,
    trt.TARGET,
    trt_rtx.TARGET,
)
TARGETS: dict[str, Target] = {target.name: target for target in sorted(_ALL, key=lambda target: target.name)}


def get_target(name: str) -> Target:
    """Return a target by name.

    Raises:
        UsageError: There is none of this name; the message lists those that there are.
    """
    if name not in TARGETS:
        raise unknown("target", name, TARGETS)
    return TARGETS[name]
