"""The training data of a fraction of the patients; the other patients may serve as unlabelled ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from lorkit.decompose.data.fractions import indices_of, take_fraction
from lorkit.decompose.data.prepared import PreparedRegion, join_prepared
from lorkit.decompose.data.samples.label_table import UNCERTAIN
from lorkit.decompose.training.training_data import PreparedParts, TrainingData


def of_fraction(data: TrainingData, fraction: float, *, seed: int, rest: bool = False) -> TrainingData:
    """Return the data with a fraction of the training groups of each region.

    Args:
        data: Whole training parts.
        fraction: Of the groups.
        seed: Decides which groups; student and teachers get the same, which depend only on names and labels.
        rest: Whether the samples of the other groups are unlabelled ones, beside those that there are.
    """
    if fraction == 1:
        return data
    train, unlabelled = _divided(data.train, data.unlabelled, fraction, seed, rest)
    seen, *further = (_seen(parts, fraction, seed, rest) for parts in (data.teacher, *data.further))
    return replace(data, train=train, unlabelled=unlabelled, teacher=seen, further=further)


def _seen(parts: PreparedParts | None, fraction: float, seed: int, rest: bool) -> PreparedParts | None:
    """Return the parts that a teacher sees with a fraction of the training groups; None if the student's."""
    if parts is None:
        return None
    train, others = _divided(parts["train"], parts.get("unlabelled", {}), fraction, seed, rest)
    return {**parts, "train": train, "unlabelled": others}


def _divided(
    train: Mapping[str, PreparedRegion],
    unlabelled: Mapping[str, PreparedRegion],
    fraction: float,
    seed: int,
    rest: bool,
) -> tuple[dict[str, PreparedRegion], dict[str, PreparedRegion]]:
    kept = {name: take_fraction(one, fraction, seed=seed) for name, one in train.items()}
    others = dict(unlabelled)
    for name, one in train.items() if rest else ():
        left = _without_labels(one, fraction, seed)
        if len(left):
            others[name] = join_prepared(others[name], left) if name in others else left
    return kept, others


def _without_labels(one: PreparedRegion, fraction: float, seed: int) -> PreparedRegion:
    """Return the samples that a fraction leaves out, with all labels unknown."""
    left = np.setdiff1d(np.arange(len(one)), indices_of(one, fraction, seed=seed))
    found = one.take(left)
    return replace(
        found, labels=np.full_like(found.labels, UNCERTAIN), masks=None, originals=None, target_names=(), columns={}
    )
