"""The inspection document and the contact sheet."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from file_operations import attempt
from PIL import Image

from lorkit.decompose.config import Config, RegionConfig, default_config
from lorkit.decompose.data import inspection
from lorkit.decompose.data.contact_sheet import contact_sheet
from lorkit.decompose.data.readers.registry import read_region
from lorkit.decompose.data.samples.samples import RegionSamples
from lorkit.decompose.errors import StorageError

Make = Callable[..., RegionSamples]


def inspect(*arguments: Any) -> dict[str, Any]:
    return inspection.inspect(*arguments).to_json()


def config() -> Config:
    return Config.model_validate({"image": {"size": 8, "channels": 1}, "regions": {"r": {"data": "x"}}})


def test_counts_parts_and_speed(make: Make) -> None:
    samples = {"r": make([0] * 100 + [1] * 8, groups=[f"g{index // 2}" for index in range(108)])}
    document = inspect(config(), samples)
    assert json.loads(json.dumps(document)) == document
    region = document["regions"]["r"]
    assert region["n"] == 108
    assert region["cases_by_class"] == {"a": 100, "b": 8}
    assert region["groups"] == 54
    assert region["split"] == "by group"
    assert sum(part["n"] for part in region["parts"].values()) == 108
    assert document["loader"]["images_per_second"] > 0
    assert document["warnings"] == ["region 'r': class 'b' has less than a tenth of the largest class's samples"]


def test_spacings_are_the_smallest_and_the_largest_of_those_that_are_stated(make: Make) -> None:
    samples = make([0, 1] * 10)
    assert "spacing_range_mm" not in inspect(config(), {"r": samples})["regions"]["r"]
    stated = (None, (1.0, 3.0), (2.0, 0.5), *[None] * 17)
    found = inspect(config(), {"r": replace(samples, spacings=stated)})["regions"]["r"]
    assert found["spacing_range_mm"] == [[1.0, 0.5], [2.0, 3.0]]


def test_all_leaks_are_listed_instead_of_raised(make: Make) -> None:
    parts = ["train", "val", "test", "train", "val", "test"]
    samples = make([0, 0, 0, 1, 1, 1], parts=parts, groups=["p", "p", "q", "r", "s", "r"])
    document = inspect(config(), {"r": samples})
    assert len(document["regions"]["r"]["leaks"]) == 2
    assert "2 leaks" in document["warnings"][0]
    assert document["loader"]["images_per_second"] is None
    assert document["regions"]["r"]["parts"]["val"]["n"] == 2


def test_images_that_regions_put_into_different_parts_are_listed_instead_of_raised(make: Make) -> None:
    images = np.arange(12, dtype=np.uint8)[:, None, None] * np.ones((1, 4, 4), np.uint8)
    labels = [0, 0, 0, 1, 1, 1] * 2
    samples = {
        "a": make(labels, images=images, parts=["train", "val", "test"] * 4),
        "b": make(labels, images=images, parts=["val", "train", "test"] * 4),
    }
    document = inspect(config(), samples)
    assert document["regions"]["a"]["leaks"] == []
    assert len(document["regions"]["b"]["leaks"]) == 8
    assert "8 images or patients in several regions and in different stated parts" in " ".join(document["warnings"])
    assert document["loader"]["images_per_second"] is None


def test_a_leak_within_a_region_is_listed_once(make: Make) -> None:
    samples = make([0, 0, 0, 1, 1, 1], parts=["train", "val", "test"] * 2, groups=["p", "p", "q", "r", "s", "t"])
    assert len(inspect(config(), {"r": samples})["regions"]["r"]["leaks"]) == 1


def test_repeated_and_contradicting_images_are_counted(make: Make) -> None:
    images = np.random.default_rng(0).integers(0, 256, (40, 4, 4), dtype=np.uint8)
    images[[2, 5]] = images[[0, 0]]
    region = inspect(config(), {"r": make([0, 1] * 20, images=images)})["regions"]["r"]
    assert region["repeated_images"] == 2
    assert region["conflicting_labels"] == 1


def test_phantom_is_said_to_be_synthetic() -> None:
    document = inspect(default_config())
    assert document["synthetic"]
    assert list(document["regions"]) == ["chest", "brain", "breast", "knee"]
    assert all(region["leaks"] == [] for region in document["regions"].values())


def test_contact_sheet_shows_a_row_for_each_class(make: Make, tmp_path: Path) -> None:
    images = [np.full((20, 10), 255, np.uint8), np.zeros((8, 8, 3), np.uint8), np.full((200, 300), 9, np.uint16)]
    path = contact_sheet({"r": make([0, 1, 1], images=images)}, tmp_path / "new" / "sheet.png", columns=3)
    with Image.open(path) as sheet:
        assert sheet.size == (150 + 3 * 100 + 4, 2 * 100 + 4)
        assert sheet.getpixel((150 + 48, 4 + 48)) == (255, 255, 255)


def test_unwritable_place_is_a_storage_error(make: Make, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError):
        contact_sheet({"r": make([0, 1])}, tmp_path / "file" / "sheet.png")


def test_a_stopped_command_leaves_the_sheet_that_was_there(make: Make, tmp_path: Path) -> None:
    path = tmp_path / "sheet.png"
    path.write_bytes(b"the old one")
    stopped = attempt(lambda: contact_sheet({"r": make([0, 1])}, path) and 0, under=tmp_path)
    assert stopped.operations
    assert path.read_bytes() != b"the old one"
    for at in range(len(stopped.operations)):
        path.write_bytes(b"the old one")
        attempt(lambda: contact_sheet({"r": make([0, 1])}, path) and 0, under=tmp_path, at=at)
        assert path.read_bytes() == b"the old one", stopped.operations[at]


def test_what_hints_at_mistakes_is_said(make: Make) -> None:
    """Patients unknown, images given twice or in two regions, names that differ in spelling."""
    images = np.random.default_rng(0).integers(0, 256, (40, 4, 4), dtype=np.uint8)
    images[1] = images[0]
    samples = {
        "r": make([0, 1] * 20, images=images, classes=("NORMAL", "normal")),
        "s": make([0, 1] * 20, images=np.concatenate([images[:3], images[3:] // 2]), name="s"),
    }
    both = Config.model_validate({
        "image": {"size": 8, "channels": 1}, "regions": {"r": {"data": "x"}, "s": {"data": "x"}},
    })  # fmt: skip
    document = inspect(both, samples)
    assert document["regions"]["r"]["split"] == "by image: patients unknown"
    assert document["regions"]["r"]["groups"] == 40
    found = "\n".join(document["warnings"])
    for text in (
        "region 'r': split by image: patients unknown",
        "classes 'NORMAL' and 'normal' differ only in spelling",
        "region 'r': 1 image given more than once",
        "regions 'r' and 's' share 2 images: one part of the split in both",
    ):
        assert text in found


def test_labels_are_counted_with_what_is_uncertain(tmp_path: Path) -> None:
    labels = np.array([[1, 0], [0, 1], [-1, 1], [-1, -1]] * 6)
    images = np.random.default_rng(0).integers(0, 256, (24, 8, 8), dtype=np.uint8)
    np.savez(tmp_path / "a.npz", images=images, labels=labels, label_names=np.array(["p", "q"]))
    samples = {"r": read_region("r", RegionConfig(data=("a.npz",)), base=tmp_path)}
    document = inspect(config(), samples)
    region = document["regions"]["r"]
    assert (region["task"], region["cases_by_class"], region["uncertain"]) == (
        "multilabel",
        {"p": 6, "q": 12},
        {"p": 12, "q": 6},
    )
    assert {
        "region 'r': label 'p' has fewer than 20 positive images",
        "region 'r': 6 images without any known label: they teach nothing",
    } <= set(document["warnings"])
    with Image.open(contact_sheet(samples, tmp_path / "sheet.png", columns=2)) as sheet:
        assert sheet.height > 2 * 96
