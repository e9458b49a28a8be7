"""Inner products of centred similarities, in either space."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from cka_reference import SPACES, draw, related, song
from torch import Tensor

from lorkit.decompose.errors import DataError
from lorkit.decompose.methods.losses.cka.products import cheaper_space, products, standardise


def naive(x: Tensor, y: Tensor) -> float:
    """Return unbiased HSIC as the mean over distinct indices of K_ij (L_ij + L_kl - 2 L_ik), in plain loops."""
    k, l, n = (x @ x.T).tolist(), (y @ y.T).tolist(), len(x)  # noqa: E741
    pairs = [k[i][j] * l[i][j] for i, j in itertools.permutations(range(n), 2)]
    fours = [k[a][b] * l[c][d] for a, b, c, d in itertools.permutations(range(n), 4)]
    threes = [k[i][j] * l[i][m] for i, j, m in itertools.permutations(range(n), 3)]
    return sum(pairs) / len(pairs) + sum(fours) / len(fours) - 2 * sum(threes) / len(threes)


@pytest.mark.parametrize("space", SPACES)
def test_unbiased_hsic_is_the_mean_over_distinct_samples(space: Any) -> None:
    x, y = related(6, 3, 4)
    left, right = standardise(x, y)
    xy = products(left, right, estimator="unbiased", space=space).xy
    scale = math.prod(float((side - side.mean(0)).square().sum()) / 6 for side in (x, y))  # that standardising took out
    value = float(xy) * scale / (6 * 3)
    assert value == pytest.approx(naive(x, y), abs=1e-10)
    assert value == pytest.approx(song(x @ x.T, y @ y.T), abs=1e-10)


@pytest.mark.parametrize("space", SPACES)
def test_unbiased_hsic_of_features_with_themselves_is_never_negative(space: Any) -> None:
    for n in range(4, 9):
        x = draw(800, n, 6, seed=n)
        left, right = standardise(x, x)
        found = products(left, right, estimator="unbiased", space=space)
        assert (found.xx >= -1e-12).all()
        torch.testing.assert_close(found.xy, found.xx)


@pytest.mark.parametrize(
    ("shape", "space"),
    [
        ((32, 512, 2048), "gram"),
        ((64, 25088, 512), "gram"),
        ((1568, 256, 256), "feature"),
        ((4096, 128, 128), "feature"),
    ],
)
def test_shape_chooses_the_space(shape: tuple[int, int, int], space: str) -> None:
    assert cheaper_space(*shape) == cheaper_space(*shape, (True, False)) == space


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_not_a_number_is_an_error_that_names_the_side(bad: float) -> None:
    x, y = related()
    broken = y.clone()
    broken[3, 1] = bad
    with pytest.raises(DataError, match=r"NaN or infinity, in the second input; required: finite"):
        standardise(x, broken)
    with pytest.raises(DataError, match="first input"):
        standardise(broken, x)
