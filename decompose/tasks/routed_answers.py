"""What a network with the heads of several regions answers where the region of an image is unknown.

A router network gives the logits of every head and the probability of each region. Its head policy says what the answer
is: the logits of the head of the most probable region (`routed`, and `all-heads`, which gives the others beside it), or
one mean over the heads (`weighted`, of regions with the same classes). It abstains below a confidence.

Shapes: N images, T regions, K outputs of a head; `spatial` is the grid of maps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lorkit.decompose.artifacts.arrays import Float32Array, Ints
from lorkit.decompose.documents.heads import CONFIDENCE, LOGITS, REGION_PROBABILITIES, HeadPolicy, head_output
from lorkit.decompose.errors import DataError
from lorkit.decompose.regions import Region
from lorkit.decompose.tasks import get_task

ABSTAINED = "(abstained)"
"""What a confusion of regions shows in place of a region."""


@dataclass(frozen=True, kw_only=True)
class RoutedAnswers:
    """Answers to N images whose regions are unknown.

    Attributes:
        regions: The T regions, in the order of the network's region probabilities.
        region_N: Index of the most probable region.
        confidence_N: Confidence of that region.
        abstained_N: Whether the confidence is too low for an answer.
        logits: By region the logits of its head (N, K, *spatial); under `weighted` the same ones for all.
        weighted: Whether the answer is the mean over heads, so that another region's head is no mistake.
    """

    regions: tuple[str, ...]
    region_N: Ints
    confidence_N: NDArray[np.floating]
    abstained_N: NDArray[np.bool_]
    logits: Mapping[str, Float32Array] = field(repr=False)
    weighted: bool = False

    def region(self, index: int) -> str:
        """Return the region of one image."""
        return self.regions[int(self.region_N[index])]

    def answer(self, index: int) -> Float32Array | None:
        """Return the logits (K, *spatial) that answer one image, those of the head of its region; None: abstained."""
        return None if self.abstained_N[index] else self.logits[self.region(index)][index]

    def answered_as(self, region: str) -> NDArray[np.bool_]:
        """Return (N,): which images a region's head answers."""
        routed_N: NDArray[np.bool_] = self.region_N == self.regions.index(region)
        return ~self.abstained_N & (routed_N | self.weighted)

    def outputs_for(self, region: Region, targets: ArrayLike) -> Float32Array:
        """Return the logits (N, K, *spatial) of images that are all of one region, to be scored in its classes.

        An abstention, or the answer of another region's head, counts as wrong: see `Task.wrong_outputs`.

        Args:
            region: The true region.
            targets: (N, ...) of the images.
        """
        own = self.logits[region.name]
        answered_N = self.answered_as(region.name).reshape(-1, *(1,) * (own.ndim - 1))
        wrong = get_task(region.task).wrong_outputs(region, targets, own.shape[2:])
        return np.where(answered_N, own, wrong).astype(np.float32, copy=False)


def routed_answers(
    outputs: Mapping[str, Float32Array],
    regions: Sequence[str],
    *,
    policy: HeadPolicy,
    abstain_below: float | None,
) -> RoutedAnswers:
    """Turn the outputs of a router network into its answers.

    Args:
        outputs: By name, of N images: the `head_output` of each region (under `weighted` also `logits`),
            `region_probabilities` (N, T) and `confidence` (N,).
        regions: The T regions in the order of `region_probabilities`.
        policy: The head policy of the network.
        abstain_below: Confidence below which there is no answer; None: there always is one.

    Raises:
        DataError: A probability or a confidence is not finite.
    """
    probability_NT, confidence_N = outputs[REGION_PROBABILITIES], outputs[CONFIDENCE]
    if not (np.isfinite(probability_NT).all() and np.isfinite(confidence_N).all()):
        raise DataError(
            "region probabilities with NaN or infinite values", required="finite values", fix="check the network"
        )
    weighted = policy == "weighted"
    return RoutedAnswers(
        regions=tuple(regions),
        region_N=probability_NT.argmax(1),
        confidence_N=confidence_N,
        abstained_N=np.zeros(len(confidence_N), np.bool_) if abstain_below is None else confidence_N < abstain_below,
        logits={name: outputs[LOGITS if weighted else head_output(name)] for name in regions},
        weighted=weighted,
    )
