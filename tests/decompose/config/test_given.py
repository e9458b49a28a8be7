"""The recipe of a given network: what it lacks, what it may not say, and the configuration that it becomes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from given_networks import CLASSES, MEAN, write_recipe

from lorkit.decompose.config.given import METHOD, read_recipe
from lorkit.decompose.errors import UsageError


def test_a_recipe_is_a_configuration_of_one_region(tmp_path: Path) -> None:
    stated = read_recipe(write_recipe(tmp_path / "r.yaml", window=[-100, 300], layout="channels-last"))
    config = stated.config("liver", ["x.npz"])
    region = config.regions["liver"]
    assert (config.method, config.image.mean, region.classes, region.window) == (
        METHOD,
        (MEAN,),
        tuple(CLASSES),
        (-100, 300),
    )
    assert region.data == (str(Path.cwd() / "x.npz"),)
    assert (stated.layout, stated.output) == ("channels-last", "logits")


def test_all_missing_keys_are_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        read_recipe(None, told="of the file: 1 x 3 x 64 x 64")
    for word in ("task", "classes", "image.size", "image.channels", "image.mean", "image.std", "--recipe", "64 x 64"):
        assert word in str(caught.value)
    path = tmp_path / "r.yaml"
    path.write_text(yaml.safe_dump({"task": "segmentation", "structures": ["a"], "image": {"size": 8, "mean": [0]}}))
    with pytest.raises(UsageError, match=r"lacks image.channels, image.std; "):
        read_recipe(path)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"tsk": "classification", "task": None}, "unknown key .*'tsk'.*did you mean 'task'"),
        ({"data": "x.npz"}, "unknown key .*'data'"),
        ({"output": "labels"}, "output = 'labels'.*logits or probabilities"),
        ({"image": 5}, "image = 5"),
        ({"image": {"size": 16, "channels": 2, "mean": [0, 0], "std": [1, 1]}}, "channels"),
        ({"image": {"size": 16, "channels": 1, "mean": [0], "std": [0]}}, "image.std"),
        ({"classes": 3}, "classes"),
    ],
    ids=str,
)
def test_wrong_keys_and_values_are_named(tmp_path: Path, changes: dict[str, Any], text: str) -> None:
    path = write_recipe(tmp_path / "r.yaml", **changes)
    with pytest.raises(UsageError, match=text):
        read_recipe(path).config("liver", ["x.npz"])


def test_a_region_needs_a_name_that_can_be_a_directory(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"region name '\.\./liver'"):
        read_recipe(write_recipe(tmp_path / "r.yaml")).config("../liver", ["x.npz"])
