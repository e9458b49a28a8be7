"""How the outputs of a network are compared with those of its source.

Shapes: N images; a head has (N, K), of masks (N, K, *spatial).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lorkit.decompose.documents.heads import CONFIDENCE, GATES, LOGITS, REGION, REGION_PROBABILITIES

if TYPE_CHECKING:
    from lorkit.decompose.documents.export import ExportedNetwork
    from lorkit.export.targets.base import Inputs, Outputs


class Rule(NamedTuple):
    """How an output of a network is compared.

    Attributes:
        cuts: Values above which its columns are positive, each a decision; None: the largest column is the one decision
            of an image or pixel.
        counted_N: Images whose decisions count; None for all.
        decides: Whether there are decisions, and not only numbers.
        everywhere: Whether the numbers of all images are compared, and not only of those whose decisions count.
        offsets: Subtracted from the columns before the largest one is the decision; None without any.
    """

    cuts: Sequence[float] | None = None
    counted_N: NDArray[np.bool_] | None = None
    decides: bool = True
    everywhere: bool = True
    offsets: Sequence[float] | None = None


BATCHES = (1, 3, 8)
"""Batch sizes of a comparison."""
_OF_SEVERAL = 17
"""One more for networks of several regions: images of all of them are in one batch."""


def batches_of(network: ExportedNetwork) -> tuple[int, ...]:
    """Return the batch sizes at which an export is compared with its source when it is built."""
    return BATCHES if network.mixture is None else (*BATCHES, _OF_SEVERAL)


def rules_of(network: ExportedNetwork, reference: Outputs, inputs: Inputs, precision: str) -> dict[str, Rule]:
    """Return how each output of a network is compared.

    A head of several decides the images of its region only: the stated region, or the one that the source finds. Its
    numbers on other images have no meaning unless all heads are the answer, and with few bits they saturate beyond the
    range of its own images, so that in fp32 alone a router's are compared on all images. Those of a network by region
    id never are: some engines do not compute them.
    """
    mixture = network.mixture
    if mixture is None:
        return {LOGITS: Rule(network.cuts, offsets=network.offsets)}
    routed = mixture.form == "router"
    region_N = reference[REGION_PROBABILITIES].argmax(1) if routed else inputs[REGION]
    everywhere = routed and (precision == "fp32" or mixture.policy == "all-heads")
    rules = {
        head.output: Rule(head.cuts, region_N == index, everywhere=everywhere)
        for index, head in enumerate(mixture.heads)
    }
    if routed:
        limit = mixture.abstain_below
        rules[REGION_PROBABILITIES] = Rule()
        rules[CONFIDENCE] = Rule(decides=False) if limit is None else Rule([limit])
        rules[GATES] = Rule(decides=False)
    if mixture.policy == "weighted":
        rules[LOGITS] = Rule(mixture.heads[0].cuts)
    return rules
