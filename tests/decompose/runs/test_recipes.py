"""Preprocessing of a run's networks: of its own image, and for the foundation of the image that is stored with it."""

from __future__ import annotations

from resealing import edit_json

from lorkit.decompose.data.preprocessing.recipe import build_recipe
from lorkit.decompose.runs import Run
from lorkit.decompose.runs.recipes import foundation_recipe, recipe_of_region


def test_a_recipe_is_that_of_the_image_of_the_run(small_run: Run) -> None:
    config = small_run.config
    assert recipe_of_region(small_run, "chest") == build_recipe(config.image, config.regions["chest"])


def test_that_of_a_foundation_is_of_the_image_beside_its_weights(small_run: Run) -> None:
    own = recipe_of_region(small_run, "chest")
    assert foundation_recipe(small_run, "chest") == own
    edit_json(small_run.foundation_dir / "foundation.json", lambda found: found["image"].update(size=[40, 48]))
    assert foundation_recipe(small_run, "chest").size == (40, 48)
    assert recipe_of_region(small_run, "chest") == own
