"""What counts as a sample: pooled features, flat ones, places of a grid."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from cka_reference import all_ways, both, cka, draw, reference
from torch import Tensor

from lorkit.decompose.errors import DataError
from lorkit.decompose.methods.losses.cka.loss import CKALoss

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
