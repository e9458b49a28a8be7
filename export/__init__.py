"""Deployment: export experts to engines, check parity, measure, gate, report and predict.

The commands are functions with the same options, imported on first use: `predict` on an export needs ONNX Runtime,
numpy and Pillow, and does not import torch.
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
    from lorkit.export.prediction.streamed import stream
    from lorkit.export.reporting.reporting import report
    from lorkit.export.runtime.engine import load_engine
    from lorkit.export.runtime.native_code import trust_native

_HOMES = {
    "bench": "benchmarking.benchmark",
    "export": "building.exporting",
    "gate": "gating.gating",
    "load_engine": "runtime.engine",
    "predict": "prediction.prediction",
    "report": "reporting.reporting",
    "stream": "prediction.streamed",
    "trust_native": "runtime.native_code",
    "verify": "building.verification",
}

__all__ = ["bench", "export", "gate", "load_engine", "predict", "report", "stream", "trust_native", "verify"]


def __getattr__(name: str) -> Any:
    """Import a public name from its module on first use."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"lorkit.export.{_HOMES[name]}"), name)
