"""Regions of drafted configurations: what images need is chosen, and training can use the region."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lorkit.decompose.data.readers.discovery import discover
from lorkit.decompose.data.readers.region_drafts import RegionDraft, draft_region
from lorkit.decompose.errors import DataError, LorkitError

RNG = np.random.default_rng(0)


def draft(path: Path, **arrays: Any) -> RegionDraft:
    count = len(arrays["images"])
    np.savez(path / "a.npz", **({"labels": np.arange(count) % 2} | arrays))
    return draft_region(discover(path / "a.npz")[0])


@pytest.mark.parametrize(
    ("images", "dims", "colour", "settings"),
    [
        (RNG.integers(0, 255, (12, 9, 10)).astype("u1"), 2, False, {}),
        (RNG.integers(0, 255, (12, 9, 10, 3)).astype("u1"), 2, True, {}),
        (np.repeat(RNG.integers(0, 255, (12, 9, 10, 1)), 3, axis=3).astype("u1"), 2, False, {}),
        (RNG.integers(0, 255, (12, 7, 9, 10)).astype("u1"), 3, False, {}),
        (RNG.normal(0, 500, (12, 9, 10)), 2, False, {"window": [-1000.0, 1000.0]}),
        (RNG.normal(9, 3, (12, 9, 10)), 2, False, {"intensity": "percentile"}),
        (RNG.random((12, 9, 10)).astype("f4"), 2, False, {}),
        (RNG.integers(0, 4095, (12, 9, 10)).astype("u2"), 2, False, {"intensity": "percentile"}),
    ],
)
def test_images_say_what_they_need(
    tmp_path: Path, images: Any, dims: int, colour: bool, settings: dict[str, object]
) -> None:
    found = draft(tmp_path, images=images)
    assert (found.dims, found.colour) == (dims, colour)
    assert {key: value for key, value in found.settings.items() if key != "data"} == settings
    assert found.shape == images.shape[1 : 1 + dims]


def test_four_channels_are_no_volume(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"images of shape \(9, 10, 4\).*one or three channels"):
        draft(tmp_path, images=np.zeros((12, 9, 10, 4), np.uint8))


def pictures(root: Path, name: Callable[[int], str], count: int = 24) -> RegionDraft:
    for number in range(count):
        path = root / "ab"[number % 2] / name(number)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(RNG.integers(0, 255, (9, 10)).astype("u1")).save(path)
    return draft_region(discover(root)[0])


def test_patients_in_names_become_groups(tmp_path: Path) -> None:
    found = pictures(tmp_path, lambda number: f"P{number // 4}_{number}.png")
    assert found.settings["groups"] == r"^(P\d+)"
    assert found.size.patients == 6
    assert any("patients from the names of files: 6" in note for note in found.notes)


def test_patients_that_no_split_allows_are_told_only(tmp_path: Path) -> None:
    found = pictures(tmp_path, lambda number: f"P{number // 12}_{number}.png")  # two of them
    assert "groups" not in found.settings
    assert any("which no split of all classes allows" in note for note in found.notes)


def test_stated_parts_that_share_images_are_split_again(tmp_path: Path) -> None:
    images = RNG.integers(0, 255, (30, 9, 10)).astype("u1")
    images[20] = images[0]
    found = draft(tmp_path, images=images, split=["train"] * 20 + ["test"] * 10)
    assert found.settings["parts"] == "anew"
    assert any("1 image or patient in several of the stated parts" in note for note in found.notes)


def test_too_few_images_are_refused_and_too_many_only_sampled(tmp_path: Path) -> None:
    with pytest.raises(LorkitError, match="too few for train, val, test"):
        pictures(tmp_path / "few", lambda number: f"{number}.png", 4)
    pictures(tmp_path / "many", lambda number: f"{number}.png", 40)
    found = draft_region(discover(tmp_path / "many")[0], most_bytes=1)
    assert found.samples is None
    assert found.notes[-1].startswith("of 40 images only 24 were opened")
