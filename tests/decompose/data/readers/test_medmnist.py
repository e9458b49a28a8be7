"""MedMNIST's layout: three parts in six arrays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lorkit.decompose.config import RegionConfig
from lorkit.decompose.data.readers import medmnist, npz
from lorkit.decompose.errors import DataError


def arrays() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    made = {}
    for part, count in (("train", 6), ("val", 2), ("test", 4)):
        made[f"{part}_images"] = rng.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        made[f"{part}_labels"] = (np.arange(count) % 2)[:, None]
    return made


def test_official_split_is_kept(tmp_path: Path) -> None:
    path = str(tmp_path / "breastmnist.npz")
    np.savez(path, **arrays())
    assert medmnist.accepts([path]) == 1
    assert npz.accepts([path]) == 0
    source = medmnist.read([path], RegionConfig(data=(path,), classes=("malignant", "normal")))
    assert source.parts == ("train",) * 6 + ("val",) * 2 + ("test",) * 4
    assert source.classes == ("malignant", "normal")
    assert source.labels.tolist() == [0, 1] * 6
    assert source.ids[6] == "breastmnist/val/0"


def test_missing_array_is_named(tmp_path: Path) -> None:
    path = str(tmp_path / "a.npz")
    made = arrays()
    del made["val_labels"]
    np.savez(path, **made)
    with pytest.raises(DataError, match="val_labels"):
        medmnist.read([path], RegionConfig(data=(path,)))


def test_parts_of_differing_shapes_are_refused(tmp_path: Path) -> None:
    path = str(tmp_path / "a.npz")
    np.savez(path, **(arrays() | {"val_images": np.zeros((2, 64, 64), np.uint8)}))
    with pytest.raises(DataError, match="shapes"):
        medmnist.read([path], RegionConfig(data=(path,)))


def test_chestmnist_has_fourteen_labels_per_image(tmp_path: Path) -> None:
    path = str(tmp_path / "chestmnist.npz")
    rng = np.random.default_rng(0)
    made = arrays()
    made |= {name: rng.integers(0, 2, (len(made[name]), 14)) for name in made if name.endswith("labels")}
    np.savez(path, **made)
    names = tuple(f"finding {index}" for index in range(14))
    source = medmnist.read([path], RegionConfig(data=(path,), classes=names))
    assert (source.task, source.classes, source.labels.shape) == ("multilabel", names, (12, 14))
    np.testing.assert_array_equal(source.labels[6:8], made["val_labels"])
