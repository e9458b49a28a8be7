"""Selection of a layer's strategy with the cost model, from its geometry and input."""

from __future__ import annotations

import torch

from lorkit.decompose.errors import UsageError
from lorkit.decompose.experts.strategies import STRATEGIES, Strategy, get_strategy
from lorkit.decompose.experts.strategies.geometry import LayerGeometry, Sizes, Workload


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
        self, shape: Sizes, regions: int, *, equal: bool = True, device: str = "cpu", threads: int = 1
    ) -> Strategy:
        """Return the strategy for an input shape with rows of `regions` regions, in equal parts or not."""
        if len(self.candidates) == 1:
            return self.candidates[0]
        if torch.compiler.is_compiling():  # a compiled graph keeps the choice, and would watch a table that grows
            return self._cheapest(
                Workload.of(self.geometry, shape, regions, equal=equal, device=device, threads=threads)
            )
        key = (shape, regions, equal, device, threads)
        if key not in self._known:
            workload = Workload.of(self.geometry, shape, regions, equal=equal, device=device, threads=threads)
            self._known[key] = self._cheapest(workload)
        return self._known[key]

    def _cheapest(self, workload: Workload) -> Strategy:
        costs = [one.seconds(self.geometry, workload) for one in self.candidates]
        return self.candidates[costs.index(min(costs))]  # no min(..., key=...): torch's compiler does not follow it
