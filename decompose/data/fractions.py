"""A fraction of a region's training patients, the same for every method that is compared."""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Callable

import numpy as np

from lorkit.decompose.artifacts.masks import pixel_counts
from lorkit.decompose.data.prepared import PreparedRegion
from lorkit.decompose.data.samples.label_table import NEGATIVE, POSITIVE
from lorkit.decompose.errors import UsageError


def take_fraction(prepared: PreparedRegion, fraction: float, *, seed: int) -> PreparedRegion:
    """Return the samples of a fraction of the groups, in their order; see `indices_of`."""
    return prepared if fraction == 1 else prepared.take(indices_of(prepared, fraction, seed=seed))


def check_fraction(prepared: PreparedRegion, fraction: float, *, seed: int) -> None:
    """Raise DataError if a fraction has no sample of a class, whose head could not be trained."""
    region, chosen = prepared.region, indices_of(prepared, fraction, seed=seed)
    if prepared.labels.ndim == 2:
        word, kept = "label", prepared.labels[chosen]
        lost = np.flatnonzero(~((kept == POSITIVE).any(0) & (kept == NEGATIVE).any(0)))
    elif prepared.masks is None:
        labels, word = np.asarray(prepared.labels), "class"
        lost = np.setdiff1d(labels, labels[chosen])
    else:
        masks, word = np.asarray(prepared.masks), "structure"
        counts, kept = (pixel_counts(some, len(region.classes)) for some in (masks, masks[chosen]))
        lost = np.flatnonzero((counts > 0) & (kept == 0))
    if len(lost):
        raise UsageError(
            f"--fractions {fraction:g} with seed {seed} leaves region '{region.name}' without training "
            f"{region.words.cases} of {word} '{region.classes[int(lost[0])]}'",
            required=f"every {word} in every training part",
            fix="use a larger fraction, or another seed",
        )


def indices_of(prepared: PreparedRegion, fraction: float, *, seed: int) -> list[int]:
    """Return the sample indices of a fraction of the groups, ascending.

    Groups are taken by class (the most frequent of their samples; of several labels the rarest positive one), at least
    one of each, in an order that depends only on their names and the seed: smaller fractions are part of larger ones.

    Raises:
        UsageError: The fraction is not above 0 and at most 1.
    """
    if not 0 < fraction <= 1:
        raise UsageError(f"fraction {fraction}", required="above 0, at most 1", fix="correct --fractions")
    stratum = _stratum_of(prepared)
    samples: dict[str, list[int]] = defaultdict(list)
    for index, group in enumerate(prepared.groups):
        samples[group].append(index)
    classes: dict[int, list[str]] = defaultdict(list)
    for group in sorted(samples, key=lambda name: hashlib.sha256(f"{seed}:{name}".encode()).digest()):
        classes[stratum(samples[group])].append(group)
    kept = [group for groups in classes.values() for group in groups[: math.ceil(fraction * len(groups))]]
    return sorted(index for group in kept for index in samples[group])


def _stratum_of(prepared: PreparedRegion) -> Callable[[list[int]], int]:
    """Return the function from samples of a group to the stratum that the group counts for."""
    labels = prepared.labels
    if labels.ndim == 1:
        return lambda indices: int(np.bincount(labels[indices]).argmax())
    positives_L = (labels == POSITIVE).sum(0)

    def rarest(indices: list[int]) -> int:
        shown = np.flatnonzero((labels[indices] == POSITIVE).any(0))
        return int(shown[positives_L[shown].argmin()]) if len(shown) else -1

    return rarest
