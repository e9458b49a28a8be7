"""How the networks of a run want their images prepared, from its configuration alone."""

from __future__ import annotations

from lorkit.decompose.artifacts import read_json
from lorkit.decompose.config import ImageConfig
from lorkit.decompose.data.preprocessing.recipe import build_recipe
from lorkit.decompose.documents.recipe import Recipe
from lorkit.decompose.runs import Run


def recipe_of_region(run: Run, region: str) -> Recipe:
    """Return the preprocessing of a region's images in a run."""
    return build_recipe(run.config.deployed_image, run.config.regions[region])


def foundation_recipe(run: Run, region: str) -> Recipe:
    """Return the preprocessing of a region's images for the foundation of a run, as stored with it."""
    image = ImageConfig.model_validate(read_json(run.foundation_dir / "foundation.json", kind="foundation")["image"])
    return build_recipe(image, run.config.regions[region])
