"""Metrics: scores by class and structure, bootstrap over groups, paired differences."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lorkit.decompose.lazy import imported_on_use

if TYPE_CHECKING:
    from lorkit.decompose.metrics.classification import CORNERS, auroc_by_class, log_odds, roc, scores
    from lorkit.decompose.metrics.paired import PairedDrop, paired_difference, paired_drop

__all__ = [
    "CORNERS",
    "HEADLINE",
    "PairedDrop",
    "auroc_by_class",
    "log_odds",
    "paired_difference",
    "paired_drop",
    "roc",
    "scores",
]
HEADLINE = ("accuracy", "balanced_accuracy", "auroc", "ece", "brier")
"""Metrics of a classifier; here, since a prediction needs their names and nothing that computes them."""
_HOMES = dict.fromkeys(("CORNERS", "auroc_by_class", "log_odds", "roc", "scores"), "classification")
_HOMES |= dict.fromkeys(("PairedDrop", "paired_difference", "paired_drop"), "paired")
__getattr__ = imported_on_use(__name__, _HOMES)
