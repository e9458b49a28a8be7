"""What `decompose init` writes for an amount of data: a start that docs/benchmarks/teaching.md supports, not a promise.

`RULES` is a table that is read from top to bottom. Every row names the section of the page with its evidence: a rule
follows what is measured there, and changes with it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

FEW = 500
"""Training patients below which a region has few: the page compares methods on 94 to 470 of them, and on 1,880."""
EPOCHS = 20
LEAST_STEPS = 1000
TRAINED = 0.7
"""The share of patients that a split leaves for training."""
PAGE = "docs/benchmarks/teaching.md"


@dataclass(frozen=True, kw_only=True)
class RegionSize:
    """Counts of a region's data.

    Attributes:
        images: Labelled images.
        patients: Patients, or images where patients are unknown.
        labels: Classes, labels or structures.
        masks: Whether images have masks.
    """

    images: int
    patients: int
    labels: int
    masks: bool = False


@dataclass(frozen=True, kw_only=True)
class Amount:
    """What the rules see: the sizes of all regions, and whether the user has a foundation's weights."""

    regions: Mapping[str, RegionSize]
    foundation: bool = False

    @property
    def several(self) -> bool:
        """Whether there are several regions."""
        return len(self.regions) > 1

    @property
    def few(self) -> bool:
        """Whether a region has few training patients."""
        return min(one.patients for one in self.regions.values()) * TRAINED < FEW

    @property
    def masks(self) -> bool:
        """Whether a region has masks."""
        return any(one.masks for one in self.regions.values())


class Rule(NamedTuple):
    """A row of the table: when it holds, the method, the reason, and the section of the page with the evidence."""

    holds: Callable[[Amount], bool]
    method: str
    why: str
    section: str


_PUBLISHED = "published-weights"
_ALL = "five-regions-of-real-images"
_UNSEEN = "images-without-labels"
_MASKS = "segmenting-retinal-vessels-with-a-foundation-of-other-tasks"
RULES = (
    Rule(
        lambda amount: amount.masks,
        "stl",
        "with masks every teacher made the student worse",
        _MASKS,
    ),
    Rule(
        lambda amount: amount.several and amount.few,
        "stl-kd",
        "with few patients, a network per region with a teacher had the highest mean, not shown; mtl-kd is quicker",
        _PUBLISHED,
    ),
    Rule(
        lambda amount: amount.several,
        "mtl",
        "of several regions with many patients, one shared network was about as accurate as experts (lorkd)",
        _ALL,
    ),
    Rule(
        lambda amount: amount.foundation and amount.few,
        "rd",
        "with few patients, its mean was the highest of taught students, above the student alone (stl); not shown",
        _UNSEEN,
    ),
    Rule(
        lambda amount: amount.foundation,
        "fitnet",
        "a quick teacher whose mean was above the student alone (stl) with few patients; not measured with many",
        _UNSEEN,
    ),
    Rule(
        lambda amount: True,
        "stl",
        "one region without a foundation has no teacher that knows more than its images",
        _UNSEEN,
    ),
)
"""The last row holds always."""


@dataclass(frozen=True, kw_only=True)
class Recommendation:
    """A method, its steps, and why.

    Attributes:
        method: Name of the method.
        epochs: Epochs of the training.
        min_steps: Fewest optimiser steps of a phase, where the epochs have fewer; else None.
        why: The reason.
        link: Path and section of the documentation.
        against: Methods to compare on the user's own data.
        taught: The rule for the same data and the weights of a foundation, if it is another one.
    """

    method: str
    epochs: int
    min_steps: int | None
    why: str
    link: str
    against: tuple[str, ...]
    taught: Rule | None = None


def recommend(amount: Amount, *, batch_size: int) -> Recommendation:
    """Return the start for an amount of data: the first rule that holds, and steps enough for the smallest phase.

    Args:
        amount: One region or more.
        batch_size: Of the training.
    """
    rule, taught = (_first(one) for one in (amount, replace(amount, foundation=True)))
    images = [one.images * TRAINED for one in amount.regions.values()]
    smallest = sum(images) if rule.method in ("lorkd", "mtl") else min(images)
    steps = EPOCHS * math.ceil(smallest / batch_size)
    return Recommendation(
        method=rule.method,
        epochs=EPOCHS,
        min_steps=LEAST_STEPS if steps < LEAST_STEPS else None,
        why=rule.why,
        link=f"{PAGE}#{rule.section}",
        against=("stl", "mtl-kd", "lorkd") if amount.several else ("stl", "fitnet", "rd"),
        taught=None if taught is rule else taught,
    )


def _first(amount: Amount) -> Rule:
    return next(one for one in RULES if one.holds(amount))
