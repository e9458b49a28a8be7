"""Metrics: scores by class and structure, bootstrap over groups, paired differences."""

from __future__ import annotations

from lorkit.decompose.metrics.classification import CORNERS, HEADLINE, auroc_by_class, log_odds, roc, scores
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
