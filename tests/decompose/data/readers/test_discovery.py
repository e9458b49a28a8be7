"""Finding data below a directory: what becomes a region, under which name, and what is left out with a reason."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lorkit.decompose.config import load_config
from lorkit.decompose.data import read_region
from lorkit.decompose.data.formats.pictures import SUFFIXES
from lorkit.decompose.data.readers.discovery import discover
from lorkit.decompose.errors import DataError


def write_npz(path: Path, **arrays: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    base = {"images": np.zeros((4, 8, 8), np.uint8), "labels": np.arange(4) % 2}
    np.savez(path, **(arrays or base))  # type: ignore[arg-type]


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_every_kind_is_found_and_named(tmp_path: Path) -> None:
    write_npz(tmp_path / "brain" / "mri_2024.npz")
    write_npz(tmp_path / "eye" / "masks.npz", images=np.zeros((1, 8, 8)), masks=np.zeros((1, 8, 8)))
    touch(tmp_path / "Chest X-Ray" / "normal" / f"a{SUFFIXES[0]}", tmp_path / "Chest X-Ray" / "sick" / "b.png")
    (tmp_path / "knee").mkdir()
    (tmp_path / "knee" / "list.csv").write_text("path,label,group\na.png,KL0,p1\n")
    (tmp_path / "knee" / "labels.csv").write_text("id,grade\n1,2\n")
    found = {entry.name: entry for entry in discover(tmp_path)}
    assert sorted(found) == ["brain", "chest-x-ray", "eye", "knee"]
    assert "its own configuration" in found["eye"].problem
    assert found["knee"].path.name == "list.csv"
    assert found["chest-x-ray"].path.is_dir()


def test_two_files_in_one_place_keep_their_own_names(tmp_path: Path) -> None:
    write_npz(tmp_path / "a.npz")
    write_npz(tmp_path / "b.npz")
    write_npz(tmp_path / "x" / "a.npz")
    write_npz(tmp_path / "x" / "all.npz")
    assert [entry.name for entry in discover(tmp_path)] == ["a", "b", "a-2", "all-region"]


def test_stated_parts_are_one_region(tmp_path: Path) -> None:
    for part in ("train", "val", "test"):
        touch(tmp_path / "skin" / part / "mole" / "1.png", tmp_path / "skin" / part / "nevus" / "2.png")
    assert [(entry.name, entry.path.name) for entry in discover(tmp_path)] == [("skin", "skin")]


def test_what_is_found_can_be_read(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 255, (8, 8, 8), np.uint8)
    write_npz(tmp_path / "brain.npz", images=images, labels=np.arange(8) % 2)
    (entry,) = discover(tmp_path)
    config = tmp_path / "decompose.yaml"
    config.write_text(f"regions: {{{entry.name}: {{data: {entry.path.name}}}}}\n")
    loaded = load_config(config)
    assert len(read_region("brain", loaded.regions["brain"], base=tmp_path).labels) == 8


def test_nothing_to_find(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no directory at"):
        discover(tmp_path / "absent")
    with pytest.raises(DataError, match="nothing to train on in"):
        discover(tmp_path)
    (tmp_path / "broken.npz").write_bytes(b"PK")
    with pytest.raises(DataError, match="nothing to train on in"):
        discover(tmp_path)
