"""Strategies to compute an expert layer: one file for each, listed here."""

from __future__ import annotations

from lorkit.decompose.errors import unknown
from lorkit.decompose.experts.strategies.base import LayerInputs, Strategy
from lorkit.decompose.experts.strategies.grouped import Grouped
from lorkit.decompose.experts.strategies.merged import Merged
from lorkit.decompose.experts.strategies.sampled import Sampled
from lorkit.decompose.experts.strategies.split import Split
from lorkit.decompose.experts.strategies.taps import Taps

__all__ = ["STRATEGIES", "LayerInputs", "Strategy", "get_strategy"]

STRATEGIES: dict[str, Strategy] = {
    strategy.name: strategy for strategy in (Grouped(), Merged(), Sampled(), Split(), Taps())
}


def get_strategy(name: str) -> Strategy:
    """Return a strategy by name; raise UsageError with the known ones."""
    if name not in STRATEGIES:
        raise unknown("strategy", name, ("auto", *STRATEGIES))
    return STRATEGIES[name]
