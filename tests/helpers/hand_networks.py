"""Networks of volumes whose answers are functions, opened without an artifact, for tests of prediction."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from lorkit.decompose.artifacts.arrays import Float32Array
from lorkit.decompose.documents.recipe import Recipe
from lorkit.decompose.regions import Region
from lorkit.export.prediction.network import LoadedNetwork


def recipe_of(size: Sequence[int], *, high: float = 100.0, mean: float = 0.5) -> Recipe:
    """Return the recipe of volumes that are resized, with a window from 0 to `high`."""
    steps = [
        {"op": "intensity", "rule": "window", "low": 0.0, "high": high},
        {"op": "resize", "size": [*size], "filter": "trilinear"},
        {"op": "channels", "count": 1},
        {"op": "normalise", "mean": [mean], "std": [0.25]},
    ]
    return Recipe.model_validate({"version": 2, "axes": "RAS", "steps": steps})


def windowed_recipe(window: Sequence[int], spacing: float, *, high: float = 100.0) -> Recipe:
    """Return the recipe of volumes that are resampled to a spacing in mm and taken window by window."""
    steps = [
        {"op": "intensity", "rule": "window", "low": 0.0, "high": high},
        {"op": "resample", "spacing": [spacing] * 3, "filter": "trilinear", "antialias": True},
        {"op": "window", "size": [*window], "overlap": 0.25, "blend": "gaussian", "sigma": 0.125},
        {"op": "channels", "count": 1},
        {"op": "normalise", "mean": [0.5], "std": [0.25]},
    ]
    return Recipe.model_validate({"version": 4, "axes": "RAS", "steps": steps})


def hand_network(
    name: str, structures: Sequence[str], answer: Callable[[Float32Array], Any], recipe: Recipe
) -> LoadedNetwork:
    """Return the network of a region whose mask of one prepared volume (D, H, W) is `answer` of it."""

    def run(batch: Float32Array) -> Float32Array:
        masks = np.stack([answer(image[0]) for image in batch]).astype(np.int64)
        return np.moveaxis(20.0 * np.eye(1 + len(structures), dtype=np.float32)[masks], -1, 1)

    return LoadedNetwork(
        Path(name), run, lambda inputs: {"logits": run(inputs["image"])},
        SimpleNamespace(kind="expert", in_region=None, synthetic=False, sided=None, mixture=None), 64 * "b",
        region=Region(name=name, task="segmentation", classes=tuple(structures)), recipe=recipe,
    )  # fmt: skip
