"""Counts of regions: patients as the data state them, and no image is decoded."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lorkit.decompose.config import load_config
from lorkit.decompose.config.recommendation import RegionSize
from lorkit.decompose.data.readers.region_sizes import region_sizes


def test_images_patients_and_labels_are_counted(tmp_path: Path) -> None:
    for name in ("p1/a", "p1/b", "p2/a"):
        for label in ("no", "yes"):
            path = tmp_path / "chest" / label / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()  # empty: decoding it would fail
    (tmp_path / "chest" / "unlabelled").mkdir()
    (tmp_path / "chest" / "unlabelled" / "z.png").touch()
    images = np.zeros((6, 8, 8), np.uint8)
    np.savez(tmp_path / "brain.npz", images=images, labels=np.arange(6) % 3, label_names=np.array(list("abc")))
    text = "regions: {chest: {data: chest, unlabelled: chest/unlabelled}, brain: {data: brain.npz}}"
    (tmp_path / "decompose.yaml").write_text(text)
    assert region_sizes(load_config(tmp_path / "decompose.yaml")) == {
        "chest": RegionSize(images=6, patients=2, labels=2),
        "brain": RegionSize(images=6, patients=6, labels=3),
    }
