"""Strategies to compute an expert layer: one file for each, listed here, and the choice between them by cost."""

from __future__ import annotations

import torch

from lorkit.decompose.errors import UsageError, unknown
from lorkit.decompose.experts.strategies.base import LayerInputs, Strategy
from lorkit.decompose.experts.strategies.geometry import LayerGeometry, Sizes, Workload
from lorkit.decompose.experts.strategies.grouped import Grouped
from lorkit.decompose.experts.strategies.merged import Merged
from lorkit.decompose.experts.strategies.sampled import Sampled
from lorkit.decompose.experts.strategies.split import Split
from lorkit.decompose.experts.strategies.taps import Taps

__all__ = ["STRATEGIES", "LayerInputs", "Strategy", "StrategySelector", "get_strategy"]

STRATEGIES: dict[str, Strategy] = {
    strategy.name: strategy for strategy in (Grouped(), Merged(), Sampled(), Split(), Taps())
}


def get_strategy(name: str) -> Strategy:
    """Return a strategy by name; raise UsageError with the known ones."""
    if name not in STRATEGIES:
        raise unknown("strategy", name, ("auto", *STRATEGIES))
    return STRATEGIES[name]


class StrategySelector:
    """Strategy of one layer: the configured one, or the cheapest possible one at each input shape.

    Args:
        geometry: Geometry of the layer.
        wanted: `auto`, or the name of a strategy.
        layer: Name of the layer, for the error.

    Raises:
        UsageError: The strategy is unknown, or cannot compute this layer.
    """

    def __init__(self, geometry: LayerGeometry, wanted: str = "auto", layer: str = "") -> None:
        self.geometry = geometry
        self.candidates = [one for one in STRATEGIES.values() if one.refusal(geometry) is None]
        if wanted != "auto":
            strategy = get_strategy(wanted)
            reason = strategy.refusal(geometry)
            if reason is not None:
                raise UsageError(
                    f"strategy '{wanted}' for layer '{layer}': {reason}",
                    required=f"one of auto, {', '.join(one.name for one in self.candidates)}",
                    fix="set it for single layers in lorkd.strategies, or use auto",
                )
            self.candidates = [strategy]
        self._known: dict[tuple[Sizes, int, bool, str, int], Strategy] = {}

    def strategy(
        self, shape: Sizes, regions: int, equal: bool = True, device: str = "cpu", threads: int = 1
    ) -> Strategy:
        """Return the strategy for an input shape with rows of `regions` regions, in equal parts or not."""
        if len(self.candidates) == 1:
            return self.candidates[0]
        key = (shape, regions, equal, device, threads)
        if torch.compiler.is_compiling():  # a compiled graph keeps the choice, and would guard on a growing table
            return self._cheapest(*key)
        if key not in self._known:
            self._known[key] = self._cheapest(*key)
        return self._known[key]

    def _cheapest(self, shape: Sizes, regions: int, equal: bool, device: str, threads: int) -> Strategy:
        workload = Workload.of(self.geometry, shape, regions, equal=equal, device=device, threads=threads)
        costs = [one.seconds(self.geometry, workload) for one in self.candidates]
        return self.candidates[costs.index(min(costs))]  # torch's compiler does not support min(..., key=...)
