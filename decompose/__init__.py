"""The core library: data, networks, low-rank experts, training, extraction and evaluation.

The commands are functions with the same options. They are imported on first use: importing `lorkit.decompose.errors`
does not import torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lorkit.decompose.config import Config, default_config, load_config
    from lorkit.decompose.data.formats.registry import open_image
    from lorkit.decompose.errors import LorkitError
    from lorkit.decompose.evaluation.comparison.comparison import compare
    from lorkit.decompose.evaluation.evaluation import evaluate
    from lorkit.decompose.extraction.extraction import extract
    from lorkit.decompose.inspection.inspection import inspect
    from lorkit.decompose.lifecycle import add_region, clean, finetune_expert, remove_region, train_from
    from lorkit.decompose.regions import Region, RegionSet
    from lorkit.decompose.runs import open_run
    from lorkit.decompose.runs.expert import load_expert
    from lorkit.decompose.runs.packing import pack
    from lorkit.decompose.training.training import pretrain, train

_HOMES = {
    "Config": "config",
    "LorkitError": "errors",
    "Region": "regions",
    "RegionSet": "regions",
    "add_region": "lifecycle",
    "clean": "lifecycle",
    "compare": "evaluation.comparison.comparison",
    "default_config": "config",
    "evaluate": "evaluation.evaluation",
    "extract": "extraction.extraction",
    "finetune_expert": "lifecycle",
    "inspect": "inspection.inspection",
    "load_config": "config",
    "load_expert": "runs.expert",
    "open_image": "data.formats.registry",
    "open_run": "runs",
    "pack": "runs.packing",
    "pretrain": "training.training",
    "remove_region": "lifecycle",
    "train": "training.training",
    "train_from": "lifecycle",
}

__all__ = [
    "Config",
    "LorkitError",
    "Region",
    "RegionSet",
    "add_region",
    "clean",
    "compare",
    "default_config",
    "evaluate",
    "extract",
    "finetune_expert",
    "inspect",
    "load_config",
    "load_expert",
    "open_image",
    "open_run",
    "pack",
    "pretrain",
    "remove_region",
    "train",
    "train_from",
]


def __getattr__(name: str) -> Any:
    """Import a public name from its module on first use."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"lorkit.decompose.{_HOMES[name]}"), name)
