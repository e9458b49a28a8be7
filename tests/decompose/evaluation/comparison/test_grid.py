"""The cells of a comparison, and values that are none."""

from __future__ import annotations

from typing import Any

import pytest

from lorkit.decompose.config import default_config
from lorkit.decompose.errors import UsageError
from lorkit.decompose.evaluation.comparison.compared_methods import ComparedMethod
from lorkit.decompose.evaluation.comparison.grid import Grid, check_grid

METHODS = [ComparedMethod(label=name, config=default_config()) for name in ("mtl", "lorkd")]


def test_cells_are_in_the_order_of_training() -> None:
    grid = Grid(methods=METHODS, seeds=(0, 1), fractions=(1.0, 0.5))
    assert grid.keys == [
        (label, seed, fraction) for fraction in (1.0, 0.5) for seed in (0, 1) for label in ("mtl", "lorkd")
    ]
    check_grid(grid, "val")


@pytest.mark.parametrize(("method", "share"), [("mtl", 0.5), ("kd", 0.0)])
def test_the_rest_of_a_fraction_needs_a_method_that_learns_from_it(method: str, share: float) -> None:
    own = default_config()
    section = own.unlabelled.model_copy(update={"rest": True, "share": share})
    deaf = ComparedMethod(label="a", config=own.model_copy(update={"method": method, "unlabelled": section}))
    with pytest.raises(UsageError, match=r"--unlabelled-rest .* with a; required: a method with a teacher"):
        check_grid(Grid(methods=[deaf], seeds=(0,), fractions=(0.5,)), "val")
    section = section.model_copy(update={"share": 0.5})
    one = ComparedMethod(label="b", config=own.model_copy(update={"method": "kd", "unlabelled": section}))
    check_grid(Grid(methods=[deaf, one], seeds=(0,), fractions=(0.5,)), "val")
    with pytest.raises(UsageError, match="with all training patients"):
        check_grid(Grid(methods=[deaf, one], seeds=(0,), fractions=(1.0,)), "val")


@pytest.mark.parametrize(
    ("values", "split", "message"),
    [
        ({"seeds": (0, 0)}, "test", "--seeds 0,0; required: one or more distinct"),
        ({"seeds": (2**31,)}, "test", "--seeds 2147483648; required: 0 to 2147483647"),
        ({"fractions": (1.01,)}, "test", "--fractions 1.01; required: above 0, at most 1"),
        ({}, "train", "unknown split 'train'"),
    ],
)
def test_values_that_are_no_cells_are_refused(values: dict[str, Any], split: str, message: str) -> None:
    grid = Grid(**{"methods": METHODS, "seeds": (0,), "fractions": (1.0,), **values})
    with pytest.raises(UsageError, match=message):
        check_grid(grid, split)
