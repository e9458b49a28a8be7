"""Dispatch of data entries to readers, stated parts, and every real file at hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lorkit.decompose.config import RegionConfig, SplitConfig, load_config
from lorkit.decompose.data.readers.registry import JoinedImages, concatenate, read_entries, read_region, read_regions
from lorkit.decompose.data.samples.source import Source
from lorkit.decompose.data.splits import split_regions
from lorkit.decompose.errors import DataError, UsageError

RNG = np.random.default_rng(0)

MakeSource = Callable[..., Source]


def save(path: Path, labels: list[int], groups: list[str] | None = None) -> None:
    images = RNG.integers(0, 256, (len(labels), 6, 6), dtype=np.uint8)
    extra = {"groups": np.array(groups)} if groups else {}
    np.savez(path, images=images, labels=np.array(labels), label_names=np.array(["a", "b"]), **extra)


def test_entries_of_several_kinds_are_joined(tmp_path: Path) -> None:
    save(tmp_path / "one.npz", [0, 1])
    (tmp_path / "images").mkdir()
    Image.fromarray(np.zeros((5, 7), np.uint8)).save(tmp_path / "images" / "x.png")
    (tmp_path / "rows.csv").write_text("path,label\nx.png,b\n")
    config = RegionConfig(data=("one.npz", "rows.csv", "images"))
    samples = read_region("r", config, base=tmp_path)
    assert samples.labels.tolist() == [0, 1, 1]
    assert samples.ids == ("one/0", "one/1", "x.png")
    assert "rows.csv" in samples.origin


def test_stated_parts_win_over_what_the_files_say(tmp_path: Path) -> None:
    for part in ("train", "val", "test"):
        save(tmp_path / f"{part}.npz", [0, 1])
    config = RegionConfig(train=("train.npz",), val=("val.npz",), test=("test.npz",))
    samples = read_region("r", config, base=tmp_path)
    assert samples.parts == ("train",) * 2 + ("val",) * 2 + ("test",) * 2


def test_stated_parts_that_share_a_patient_are_refused(tmp_path: Path) -> None:
    for part in ("train", "val", "test"):
        save(tmp_path / f"{part}.npz", [0, 1], groups=["anna" if part != "val" else "carl", part])
    config = RegionConfig(train=("train.npz",), val=("val.npz",), test=("test.npz",))
    samples = {"r": read_region("r", config, base=tmp_path)}
    with pytest.raises(DataError, match=r"'train/0' \(group 'anna'\) in train and 'test/0' \(group 'anna'\) in test"):
        split_regions(samples, SplitConfig(), seed=0)


@pytest.mark.parametrize(("entry", "error"), [("none.npz", DataError), ("none", DataError), ("file.xyz", UsageError)])
def test_unknown_entries_are_refused(tmp_path: Path, entry: str, error: type[Exception]) -> None:
    (tmp_path / "file.xyz").write_text("")
    with pytest.raises(error, match=entry):
        read_entries([entry], RegionConfig(data=(entry,)), tmp_path)


def test_unknown_phantom_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="did you mean 'chest'"):
        read_entries(["phantom:chets"], RegionConfig(data=("phantom:chets",)), tmp_path)


REAL = {
    "brain/brain_tumor_mri": (4989, 4, 448),
    "breast/busi_ultrasound": (622, 3, 477),
    "chest/pneumoniamnist_balanced": (2690, 2, 2690),
    "knee/knee_oa_xray": (6608, 5, 3304),
    "blood/bccd_cells": (1226, 3, 293),
    "multi_region/mednist": (5820, 6, None),
}


@pytest.mark.parametrize("name", REAL)
def test_real_files_read_and_split_without_a_leak(data_root: Path, name: str) -> None:
    count, classes, groups = REAL[name]
    path = data_root / "medical" / f"{name}.npz"
    if not path.exists():
        pytest.skip(f"{path} is absent")
    samples = read_region("r", RegionConfig(data=(str(path),)), base=data_root)
    assert len(samples) == count
    assert len(samples.region.classes) == classes
    assert groups is None or len(set(samples.groups)) == groups
    parts = split_regions({"r": samples}, SplitConfig(), seed=1).parts("r")
    assert sorted(np.concatenate(list(parts.values())).tolist()) == list(range(count))
    for keys in (samples.groups, samples.digests):
        seen: list[set[Any]] = [{keys[index] for index in indices} for indices in parts.values()]
        assert not seen[0] & seen[1]
        assert not seen[0] & seen[2]
        assert not seen[1] & seen[2]
    for part, share in (("train", 0.7), ("val", 0.15), ("test", 0.15)):
        counts = np.bincount(samples.labels[parts[part]], minlength=classes) / np.bincount(samples.labels)
        assert counts == pytest.approx(share, abs=0.08)  # mednist has eight blocks a class, so steps of an eighth


def test_real_masks_are_read(data_root: Path) -> None:
    path = data_root / "medical" / "retina" / "chasedb1_vessels.npz"
    if not path.exists():
        pytest.skip(f"{path} is absent")
    samples = read_region("retina", RegionConfig(data=(str(path),)), base=data_root)
    assert (samples.region.task, samples.region.classes) == ("segmentation", ("vessel",))
    assert samples.counts() == [264]


def test_a_configuration_reads_its_regions_in_order(tmp_path: Path) -> None:
    save(tmp_path / "one.npz", [0, 1])
    (tmp_path / "decompose.yaml").write_text("regions: {zebra: {data: one.npz}, ape: {data: one.npz}}\n")
    assert list(read_regions(load_config(tmp_path))) == ["zebra", "ape"]


def test_concatenation_matches_classes_by_name(make_source: MakeSource) -> None:
    joined = concatenate([make_source([0, 1]), make_source([0, 1], classes=("b", "c"), seed=1)])
    assert joined.classes == ("a", "b", "c")
    assert joined.labels.tolist() == [0, 1, 1, 2]
    assert len(joined.images) == 4


def test_sources_without_spacing_join_those_with_it(make_source: MakeSource) -> None:
    masks = np.zeros((2, 4, 4), np.uint8)
    plain = replace(make_source([0, 0]), masks=masks)
    joined = concatenate([plain, replace(plain, spacings=((1.0, 2.0),) * 2)])
    assert joined.spacings == (None, None, (1.0, 2.0), (1.0, 2.0))


def test_joined_images_find_their_block() -> None:
    joined = JoinedImages([[np.full((1, 1), 0)], [], [np.full((1, 1), 1), np.full((1, 1), 2)]])
    assert [int(joined[index][0, 0]) for index in range(3)] == [0, 1, 2]
    with pytest.raises(IndexError):
        joined[3]


def test_sources_with_other_labels_leave_them_uncertain(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name, labels in (("one", ["x", "y"]), ("two", ["y", "z"])):
        images = rng.integers(0, 256, (4, 8, 8), dtype=np.uint8)
        table = np.array([[1, 0], [0, 1], [1, 1], [0, 0]])
        np.savez(tmp_path / f"{name}.npz", images=images, labels=table, label_names=np.array(labels))
    config = RegionConfig(data=("one.npz", "two.npz"), pos_weight="auto", threshold="f1")
    samples = read_region("chest", config, base=tmp_path)
    assert (samples.region.task, samples.region.classes) == ("multilabel", ("x", "y", "z"))
    np.testing.assert_array_equal(samples.labels[[0, 4]], [[1, 0, -1], [-1, 1, 0]])
    assert samples.uncertain_counts() == [4, 0, 4]
    assert samples.target(4) == "x=-1,y=1,z=0"
    chosen = read_region("chest", config.model_copy(update={"classes": ("z", "x")}), base=tmp_path)
    np.testing.assert_array_equal(chosen.labels[[0, 4]], [[-1, 1], [0, -1]])


def test_settings_of_labels_are_refused_for_classes(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (4, 8, 8), dtype=np.uint8)
    np.savez(tmp_path / "a.npz", images=images, labels=np.arange(4) % 2)
    for key, value in (("pos_weight", 2.0), ("threshold", 0.3)):
        with pytest.raises(UsageError, match=f"of task classification states {key}"):
            read_region("chest", RegionConfig(data=("a.npz",), **{key: value}), base=tmp_path)


def test_a_column_of_labels_needs_a_table(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", images=np.zeros((4, 8, 8), np.uint8), labels=np.arange(4) % 2)
    config = RegionConfig(data=("a.npz",), label="grade")
    with pytest.raises(UsageError, match=r"region 'r' states label: grade; required: a table \(.csv, .tsv\)"):
        read_region("r", config, base=tmp_path)


def test_files_of_one_name_in_two_folders_are_not_of_one_patient(tmp_path: Path) -> None:
    for number, part in enumerate(("train", "test")):
        (tmp_path / part).mkdir()
        for name in ("1", "2"):
            pixels = np.full((4, 4), 10 * number + int(name), np.uint8)
            Image.fromarray(pixels).save(tmp_path / part / f"{name}.png")
        (tmp_path / f"{part}.csv").write_text("file,label,patient\n1.png,a,\n2.png,b,p\n")
    parts: dict[str, Any] = {part: (f"{part}.csv", part) for part in ("train", "test")}
    samples = read_region("r", RegionConfig(**parts), base=tmp_path)
    assert samples.parts == ("train", "train", "test", "test")
    assert len(set(samples.groups)) == 3  # patient p is in both
