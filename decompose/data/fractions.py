"""A fraction of a region's training patients, the same for every method that is compared."""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict

import numpy as np

from lorkit.decompose.data.prepared import PreparedRegion
from lorkit.decompose.errors import UsageError


def take_fraction(prepared: PreparedRegion, fraction: float, *, seed: int) -> PreparedRegion:
    """Return the samples of a fraction of the groups, in their order.

    Groups are taken class by class (by the class that most of a group's samples have), at least one of each, in an
    order that depends on their names and the seed alone: a smaller fraction is part of a larger one.

    Raises:
        UsageError: The fraction is not above 0 and at most 1.
    """
    if not 0 < fraction <= 1:
        raise UsageError(f"fraction {fraction}", required="above 0, at most 1", fix="correct --fractions")
    if fraction == 1:
        return prepared
    samples: dict[str, list[int]] = defaultdict(list)
    for index, group in enumerate(prepared.groups):
        samples[group].append(index)
    classes: dict[int, list[str]] = defaultdict(list)
    for group in sorted(samples, key=lambda name: hashlib.sha256(f"{seed}:{name}".encode()).digest()):
        classes[int(np.bincount(prepared.labels[samples[group]]).argmax())].append(group)
    kept = [group for groups in classes.values() for group in groups[: math.ceil(fraction * len(groups))]]
    return prepared.take(sorted(index for group in kept for index in samples[group]))
