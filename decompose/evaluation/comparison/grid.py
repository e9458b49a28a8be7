"""The cells of a comparison: every combination of method, seed and fraction."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from lorkit.decompose.config.schema import SEEDS
from lorkit.decompose.errors import UsageError, unknown
from lorkit.decompose.evaluation.comparison.compared_methods import ComparedMethod

SPLITS = ("test", "val")
CellKey = tuple[str, int, float]


@dataclass(frozen=True, kw_only=True)
class Grid:
    """The methods, seeds and fractions that were asked for."""

    methods: Sequence[ComparedMethod]
    seeds: Sequence[int]
    fractions: Sequence[float]

    @property
    def keys(self) -> list[CellKey]:
        """Label, seed and fraction of every cell, in the order of training."""
        cells = itertools.product(self.fractions, self.seeds, self.methods)
        return [(compared.label, seed, fraction) for fraction, seed, compared in cells]


def check_grid(grid: Grid, split: str) -> None:
    """Raise UsageError for an unknown split, a repeated or missing value, or one out of range."""
    if split not in SPLITS:
        raise unknown("split", split, SPLITS)
    for name, values in (("seeds", grid.seeds), ("fractions", grid.fractions)):
        if not values or len(set(values)) != len(values):
            raise UsageError(
                f"--{name} {','.join(map(str, values))}", required="one or more distinct values", fix="correct the list"
            )
    for seed in grid.seeds:
        if not 0 <= seed < SEEDS:
            raise UsageError(f"--seeds {seed}", required=f"0 to {SEEDS - 1}", fix="correct the list")
    for fraction in grid.fractions:
        if not 0 < fraction <= 1:
            raise UsageError(f"--fractions {fraction:g}", required="above 0, at most 1", fix="correct the list")
    asked = [one for one in grid.methods if one.config.unlabelled.rest]
    if asked and not any(one.uses_unlabelled for one in asked):
        raise UsageError(
            f"--unlabelled-rest (unlabelled.rest) with {', '.join(one.label for one in grid.methods)}",
            required="a method with a teacher, and an unlabelled.share above 0",
            fix="leave it out, or add a method such as kd or rd",
        )
    if asked and min(grid.fractions) == 1:
        raise UsageError(
            "--unlabelled-rest (unlabelled.rest) with all training patients",
            required="a fraction below 1, whose other patients are the unlabelled ones",
            fix="add --fractions, such as --fractions 0.05",
        )
