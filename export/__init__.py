"""Deployment: export experts to engines, prove parity, measure, judge, report and predict.

The commands are functions here with the same options. They are imported on first use: `predict`
on an export needs ONNX Runtime, numpy and Pillow, and must not pay for an import of torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lorkit.export.benchmarking.benchmark import bench
    from lorkit.export.building.exporting import export
    from lorkit.export.building.verification import verify
    from lorkit.export.gating.gating import gate
    from lorkit.export.prediction.prediction import predict
    from lorkit.export.reporting.reporting import report
    from lorkit.export.runtime.engine import load_engine

_HOMES = {
    "bench": "benchmarking.benchmark",
    "export": "building.exporting",
    "gate": "gating.gating",
    "load_engine": "runtime.engine",
    "predict": "prediction.prediction",
    "report": "reporting.reporting",
    "verify": "building.verification",
}

__all__ = ["bench", "export", "gate", "load_engine", "predict", "report", "verify"]


def __getattr__(name: str) -> Any:
    """Import a public name from its room on first use."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"lorkit.export.{_HOMES[name]}"), name)
