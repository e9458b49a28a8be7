"""New runs from a finished one by adding, removing or fine-tuning regions; cleaning up after runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lorkit.decompose.lazy import imported_on_use

if TYPE_CHECKING:
    from lorkit.decompose.lifecycle.adding import add_region
    from lorkit.decompose.lifecycle.cleaning import clean
    from lorkit.decompose.lifecycle.dispatch import train_from
    from lorkit.decompose.lifecycle.finetuning import finetune_expert
    from lorkit.decompose.lifecycle.removing import remove_region

__all__ = ["add_region", "clean", "finetune_expert", "remove_region", "train_from"]
_HOMES = {
    "add_region": "adding",
    "clean": "cleaning",
    "finetune_expert": "finetuning",
    "remove_region": "removing",
    "train_from": "dispatch",
}
__getattr__ = imported_on_use(__name__, _HOMES)
