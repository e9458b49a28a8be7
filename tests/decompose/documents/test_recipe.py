from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from lorkit.decompose.documents.recipe import Recipe


def recipe(**changes: dict[str, Any]) -> dict[str, Any]:
    steps = {
        "intensity": {"rule": "window", "low": -100, "high": 200},
        "resize": {"size": [16, 8], "filter": "bilinear"},
        "channels": {"count": 1},
        "normalise": {"mean": [0.5], "std": [0.25]},
    }
    return {"version": 1, "steps": [{"op": name, **step, **changes.get(name, {})} for name, step in steps.items()]}


def test_its_steps_are_typed_and_give_the_shape_of_an_input() -> None:
    found = Recipe.model_validate(recipe())
    assert (found.shape, found.size, found.dims) == ((1, 16, 8), (16, 8), 2)
    assert found.intensity.bounds == (-100, 200)
    assert (list(found.normalise.mean), list(found.normalise.std)) == ([0.5], [0.25])
    volume = recipe(resize={"size": [4, 5, 6], "filter": "trilinear"}) | {"version": 2, "axes": "RAS"}
    assert Recipe.model_validate(volume).shape == (1, 4, 5, 6)


def windowed(**changes: dict[str, Any]) -> dict[str, Any]:
    one = recipe()["steps"]
    steps = {
        "resample": {"spacing": [1.5, 1.5, 3], "filter": "trilinear", "antialias": True},
        "window": {"size": [32, 32, 16], "overlap": 0.25, "blend": "gaussian", "sigma": 0.125},
    }
    found = [{"op": name, **step, **changes.get(name, {})} for name, step in steps.items()]
    return {"version": 4, "axes": "RAS", "steps": [one[0], *found, *one[2:]]}


def test_a_recipe_with_a_spacing_has_the_size_of_its_windows() -> None:
    found = Recipe.model_validate(windowed())
    assert (found.shape, found.dims, found.spacing) == ((1, 32, 32, 16), 3, (1.5, 1.5, 3))
    assert found.window is not None
    assert (found.window.overlap, found.window.blend, found.window.sigma) == (0.25, "gaussian", 0.125)
    whole = Recipe.model_validate(recipe())
    assert (whole.spacing, whole.window) == (None, None)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (recipe(intensity={"low": 300}), "low < high"),
        (recipe(intensity={"rule": "dtype"}), "neither low nor high"),
        (recipe(resize={"filter": "trilinear"}), "bilinear for 2D images"),
        (recipe(normalise={"std": [0.25, 0.25]}), "1 means and stds"),
        (recipe() | {"version": 2}, "version 1 for 2D images"),
        (recipe() | {"axes": "RAS"}, "version 1 for 2D images"),
        (recipe() | {"steps": recipe()["steps"][::-1]}, "in this order"),
        (recipe(channels={"cuont": 1}), "cuont"),
        (recipe() | {"version": 4}, "resample, window"),
        (windowed() | {"version": 2}, "intensity, resize"),
        (windowed() | {"axes": None}, "version 2 or 4"),
        (windowed(resample={"spacing": [1, 1, 0]}), "greater than 0"),
        (windowed(resample={"spacing": [1, 1]}), "at least 3"),
        (windowed(window={"overlap": 1}), "less than or equal to 0.9"),
    ],
)
def test_what_cannot_be_applied_is_refused(document: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Recipe.model_validate(document)
