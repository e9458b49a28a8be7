"""One head of an engine with those of several regions, as the engine of its region.

Shapes: N images, K outputs of a head; `spatial` is the grid of maps.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from lorkit.decompose.artifacts.arrays import Float32Array
from lorkit.decompose.documents.heads import IMAGE, REGION
from lorkit.decompose.tasks.routed_answers import RoutedAnswers, routed_answers
from lorkit.export.targets.base import Engine, Inputs, Outputs

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lorkit.export.runtime.engine import CheckedEngine
    from lorkit.export.runtime.exported import Exported


class HeadEngine(Engine):
    """The head of one region, where the region of every image is stated.

    Args:
        engine: The engine of all heads.
        view: Its export, as that of the region (`Exported.of_head`).
    """

    def __init__(self, engine: CheckedEngine, view: Exported) -> None:
        super().__init__(engine, engine.provider)
        self.view = view

    def close(self) -> None:
        """Release the engine of all heads."""
        self._network.close()

    def infer(self, inputs: Inputs) -> Outputs:
        """Return the outputs of all heads: the whole network runs, whichever head is asked."""
        found: Outputs = self._network.infer(inputs)
        return found

    def run(self, batch: Float32Array) -> Float32Array:
        """Return the logits (N, K, *spatial) of images that are stated to be of the region."""
        index = self.view.region_index
        return self.infer({IMAGE: batch, REGION: np.full(len(batch), index)})[self.view.head.output]

    def judged(self, batch: Float32Array, targets: NDArray[Any]) -> Float32Array:
        """Return the logits (N, K, *spatial) of images of the region, by which the engine is judged."""
        return self.run(batch)


class RoutedEngine(HeadEngine):
    """The head of one region, where the network finds the region of every image."""

    def answers(self, batch: Float32Array) -> RoutedAnswers:
        """Return what the network answers to images of any region."""
        mixture = self.view.info.mixture
        assert mixture is not None
        return routed_answers(
            self.infer({IMAGE: batch}),
            [head.region for head in mixture.heads],
            policy=mixture.policy,
            abstain_below=mixture.abstain_below,
        )

    def run(self, batch: Float32Array) -> Float32Array:
        """Return the logits (N, K, *spatial) of the region's head, whatever region is found."""
        return self.answers(batch).logits[self.view.region.name]

    def judged(self, batch: Float32Array, targets: NDArray[Any]) -> Float32Array:
        """Return the logits of the region's head; wrong ones where another region is found, or none."""
        return self.answers(batch).outputs_for(self.view.region, targets)


def engine_of(engine: CheckedEngine, view: Exported) -> Engine:
    """Return the engine of an export; of a view of one head that of the head."""
    if not view.is_head:
        return engine
    mixture = view.info.mixture
    return RoutedEngine(engine, view) if mixture and mixture.form == "router" else HeadEngine(engine, view)
