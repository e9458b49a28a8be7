"""The core library: data, networks, low-rank experts, training, extraction and evaluation.

The commands are functions with the same options. They are imported on first use: importing `lorkit.decompose.errors`
does not import torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lorkit.decompose.config import Config as Config
    from lorkit.decompose.config import default_config as default_config
    from lorkit.decompose.config import load_config as load_config
    from lorkit.decompose.errors import LorkitError as LorkitError
    from lorkit.decompose.evaluation.comparison.comparison import compare as compare
    from lorkit.decompose.evaluation.evaluation import evaluate as evaluate
    from lorkit.decompose.extraction.extraction import extract as extract
    from lorkit.decompose.lifecycle import add_region as add_region
    from lorkit.decompose.lifecycle import finetune_expert as finetune_expert
    from lorkit.decompose.lifecycle import remove_region as remove_region
    from lorkit.decompose.lifecycle import train_from as train_from
    from lorkit.decompose.regions import Region as Region
    from lorkit.decompose.regions import RegionSet as RegionSet
    from lorkit.decompose.runs import open_run as open_run
    from lorkit.decompose.runs.expert import load_expert as load_expert
    from lorkit.decompose.training.training import pretrain as pretrain
    from lorkit.decompose.training.training import train as train

_HOMES = {
    "Config": "config",
    "LorkitError": "errors",
    "Region": "regions",
    "RegionSet": "regions",
    "add_region": "lifecycle",
    "compare": "evaluation.comparison.comparison",
    "default_config": "config",
    "evaluate": "evaluation.evaluation",
    "extract": "extraction.extraction",
    "finetune_expert": "lifecycle",
    "load_config": "config",
    "load_expert": "runs.expert",
    "open_run": "runs",
    "pretrain": "training.training",
    "remove_region": "lifecycle",
    "train": "training.training",
    "train_from": "lifecycle",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    """Import a public name from its module on first use."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"lorkit.decompose.{_HOMES[name]}"), name)
