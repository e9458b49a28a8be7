"""Decompose a foundation model into small experts for each region, and measure their cost and accuracy.

The functions that a notebook needs are here, imported on first use; all others are in `lorkit.decompose` and
`lorkit.export`.
"""

from __future__ import annotations

import os

# Libraries that report their use over the network unless told not to. ONNX Runtime reads its variable once, before its
# first session; MONAI imports MLflow where it is installed, timm the Hugging Face hub. OpenVINO has no variable:
# lorkit.export.targets.openvino replaces its reporter.
for _name in ("ORT_DISABLE_TELEMETRY", "HF_HUB_DISABLE_TELEMETRY", "MLFLOW_DISABLE_TELEMETRY"):
    os.environ.setdefault(_name, "1")

# Threads that wait in a loop take the cores from other programs: two trainings on two cores got a third of their speed
# each, and half with this. OpenMP reads it when torch is imported; a value that the user set stays.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing takes longer to import than all of `--version`
    from typing import Any

    from lorkit.decompose.config import load_config
    from lorkit.decompose.evaluation.comparison.comparison import compare
    from lorkit.decompose.evaluation.evaluation import evaluate
    from lorkit.decompose.extraction.extraction import extract
    from lorkit.decompose.training.training import train
    from lorkit.export.prediction.predictor import load_engine, load_expert

__version__ = "0.1.0"
__all__ = ["compare", "evaluate", "extract", "load_config", "load_engine", "load_expert", "train"]
_HOMES = {
    "compare": "decompose.evaluation.comparison.comparison",
    "evaluate": "decompose.evaluation.evaluation",
    "extract": "decompose.extraction.extraction",
    "load_config": "decompose.config",
    "load_engine": "export.prediction.predictor",
    "load_expert": "export.prediction.predictor",
    "train": "decompose.training.training",
}


def __getattr__(name: str) -> Any:
    """Import a public name from its module on first use."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"lorkit.{_HOMES[name]}"), name)
