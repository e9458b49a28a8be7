"""What counts as a sample: pooled features, flat ones, places of a grid."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from lorkit.decompose.errors import DataError
from lorkit.decompose.methods.losses.cka import CKALoss, cka

ESTIMATORS = ("biased", "unbiased")
SPACES = ("gram", "feature")
both = pytest.mark.parametrize("estimator", ESTIMATORS)
all_ways = pytest.mark.parametrize(("estimator", "space"), list(itertools.product(ESTIMATORS, SPACES)))


def draw(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def song(k: Tensor, l: Tensor) -> float:  # noqa: E741
    """Return unbiased HSIC of two kernel matrices by the formula of Song et al. (2012), term by term."""
    n = len(k)
    k, l = k - torch.diag(torch.diag(k)), l - torch.diag(torch.diag(l))  # noqa: E741
    one = torch.ones(n, dtype=k.dtype)
    first = torch.trace(k @ l)
    second = (one @ k @ one) * (one @ l @ one) / ((n - 1) * (n - 2))
    third = 2 / (n - 2) * (one @ k @ l @ one)
    return float(first + second - third) / (n * (n - 3))


def hsic(x: Tensor, y: Tensor, estimator: str) -> float:
    n, k, l = len(x), x @ x.T, y @ y.T  # noqa: E741
    if estimator == "unbiased":
        return song(k, l)
    h = torch.eye(n, dtype=x.dtype) - 1 / n
    return float(torch.trace(k @ h @ l @ h)) / (n - 1) ** 2


def reference(x: Tensor, y: Tensor, estimator: str) -> float:
    return hsic(x, y, estimator) / math.sqrt(hsic(x, x, estimator) * hsic(y, y, estimator))


SHAPES = {
    "vector": (6, 8),
    "image": (6, 5, 4, 3),
    "volume": (6, 3, 2, 3, 2),
    "tokens": (6, 12, 7),
}


@both
@pytest.mark.parametrize(("left", "right"), list(itertools.product(SHAPES, repeat=2)))
def test_any_two_forms_meet_in_gap_and_flatten(estimator: Any, left: str, right: str) -> None:
    x, y = draw(*SHAPES[left]), draw(*SHAPES[right], seed=1)

    def gap(features: Tensor, form: str) -> Tensor:
        return features if form == "vector" else features.flatten(2).mean(2) if form != "tokens" else features.mean(1)

    expected = reference(gap(x, left), gap(y, right), estimator)
    assert float(cka(x, y, estimator=estimator)) == pytest.approx(expected, abs=1e-10)
    expected = reference(x.reshape(6, -1), y.reshape(6, -1), estimator)
    assert float(cka(x, y, estimator=estimator, view="flatten")) == pytest.approx(expected, abs=1e-10)


@all_ways
def test_token_and_patch_image_views_pair_places(estimator: Any, space: Any) -> None:
    image, tokens = draw(3, 5, 4, 3), draw(3, 12, 7, seed=1)
    places = image.permute(0, 2, 3, 1).reshape(3, 12, 5)
    expected = reference(places.reshape(36, 5), tokens.reshape(36, 7), estimator)
    options = {"estimator": estimator, "space": space}
    for other in (tokens, tokens.mT.reshape(3, 7, 4, 3)):
        assert float(cka(image, other, view="token", **options)) == pytest.approx(expected, abs=1e-10)
    alone = [reference(a, b, estimator) for a, b in zip(places, tokens, strict=True)]
    assert float(cka(image, tokens, view="patch-image", **options)) == pytest.approx(np.mean(alone), abs=1e-10)
    assert float(cka(image[:1], tokens[:1], view="patch-image", **options)) == pytest.approx(alone[0], abs=1e-10)


def test_a_blank_image_counts_as_zero_and_is_counted() -> None:
    x, y = draw(3, 5, 4, 3), draw(3, 6, 4, 3, seed=1)
    x[1] = 7
    loss = CKALoss(view="patch-image")
    alone = [float(cka(x[i : i + 1], y[i : i + 1], view="patch-image")) for i in (0, 2)]
    assert float(loss(x, y)) == pytest.approx(-sum(alone) / 3)
    assert loss.degenerate == 1


@pytest.mark.parametrize("view", ["token", "patch-image"])
@pytest.mark.parametrize(
    ("left", "right"), [((2, 5, 4, 3), (2, 5, 3, 4)), ((2, 5, 4, 3), (2, 11, 6)), ((2, 5), (2, 5)), ((2, 4, 3), (2, 4))]
)
def test_views_of_places_refuse_other_grids(view: Any, left: tuple[int, ...], right: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match=rf"CKA view {view} of features of shapes .*; required: one grid"):
        cka(draw(*left), draw(*right), view=view)
