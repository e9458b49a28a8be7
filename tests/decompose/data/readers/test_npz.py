"""The `.npz` reader: layouts it takes, damage it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lorkit.decompose.config import RegionConfig
from lorkit.decompose.data.readers import npz
from lorkit.decompose.data.samples.source import Source
from lorkit.decompose.errors import DataError, UsageError

IMAGES = np.random.default_rng(0).integers(0, 256, (4, 6, 5), dtype=np.uint8)
LABELS = np.array([0, 1, 1, 0])


def read(path: Path, settings: dict[str, Any] | None = None, **arrays: Any) -> Source:
    np.savez(path, **arrays)
    return npz.read([str(path)], RegionConfig(data=(str(path),), **settings or {}))


def test_all_fields(tmp_path: Path) -> None:
    source = read(
        tmp_path / "a.npz",
        images=IMAGES,
        labels=LABELS,
        label_names=np.array(["no", "yes"]),
        ids=np.array(["w", "x", "y", "z"]),
        groups=np.array(["p", "p", "q", "q"]),
        split=np.array(["train", "train", "test", "val"]),
    )
    assert source.classes == ("no", "yes")
    assert source.ids == ("w", "x", "y", "z")
    assert source.groups == ("p", "p", "q", "q")
    assert source.parts == ("train", "train", "test", "val")
    np.testing.assert_array_equal(source.images[2], IMAGES[2])


def test_least_fields(tmp_path: Path) -> None:
    source = read(tmp_path / "a.npz", images=IMAGES[..., None], labels=LABELS[:, None])
    assert source.classes == ("0", "1")
    assert source.groups == source.ids == tuple(f"a/{row}" for row in range(4))
    assert source.parts == (None,) * 4


def test_text_labels_name_their_classes(tmp_path: Path) -> None:
    source = read(tmp_path / "a.npz", images=IMAGES, labels=np.array(["yes", "no", "no", "yes"]))
    assert source.classes == ("no", "yes")
    assert source.labels.tolist() == [1, 0, 0, 1]


@pytest.mark.parametrize(
    ("given", "expected"), [("u1", "uint8"), (">u2", "uint16"), ("f8", "float32"), ("i2", "float32"), ("?", "uint8")]
)
def test_dtypes(tmp_path: Path, given: str, expected: str) -> None:
    image = read(tmp_path / "a.npz", images=(IMAGES // 128).astype(given), labels=LABELS).images[0]
    assert image.dtype.name == expected
    scale = 255 if given == "?" else 1
    np.testing.assert_array_equal(image, (IMAGES[0] // 128) * scale)


def test_pickled_objects_are_refused_and_not_run(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a\.npz holds pickled"):
        read(tmp_path / "a.npz", images=np.array([{}, {}, {}, {}], dtype=object), labels=LABELS)


def test_missing_arrays_and_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no 'labels' among images"):
        read(tmp_path / "a.npz", images=IMAGES)
    with pytest.raises(DataError, match="no file at"):
        npz.accepts([str(tmp_path / "none.npz")])


def test_other_tasks_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds labels and masks"):
        read(tmp_path / "a.npz", images=IMAGES, masks=IMAGES, labels=LABELS)
    with pytest.raises(DataError, match=r"\(N,\) for classification"):
        read(tmp_path / "a.npz", {"task": "classification"}, images=IMAGES, labels=np.zeros((4, 3), int))


def test_several_columns_are_labels_with_names(tmp_path: Path) -> None:
    table = np.array([[1, 0, -1], [0, 1, 0], [1, 1, 0], [0, 0, 1]])
    source = read(tmp_path / "a.npz", images=IMAGES, labels=table, label_names=np.array(["x", "y", "z"]))
    assert (source.task, source.classes) == ("multilabel", ("x", "y", "z"))
    np.testing.assert_array_equal(source.labels, table)
    named = read(tmp_path / "b.npz", {"classes": ("p", "q", "r")}, images=IMAGES, labels=table.astype(float))
    assert named.classes == ("p", "q", "r")
    assert read(tmp_path / "c.npz", images=IMAGES, labels=table).classes == ("0", "1", "2")
    with pytest.raises(DataError, match=r"3 labels per image and 2 names"):
        read(tmp_path / "d.npz", {"classes": ("p", "q")}, images=IMAGES, labels=table)


def test_one_column_is_a_label_only_where_the_task_says_so(tmp_path: Path) -> None:
    column = np.array([[1], [0], [-1], [1]])
    stated = {"task": "multilabel", "classes": ("effusion",)}
    source = read(tmp_path / "a.npz", stated, images=IMAGES, labels=column)
    assert (source.task, source.labels.shape) == ("multilabel", (4, 1))
    assert read(tmp_path / "b.npz", images=IMAGES, labels=np.abs(column)).task == "classification"


@pytest.mark.parametrize(
    ("images", "labels", "match"),
    [
        (IMAGES[0], LABELS, "shape"),
        (np.zeros((4, 3, 8, 8, 8), np.uint8), LABELS, "shape"),
        (IMAGES.astype("c8"), LABELS, "dtype"),
        (IMAGES, LABELS.astype(float), "dtype"),
    ],
)
def test_unusable_arrays_are_refused(tmp_path: Path, images: Any, labels: Any, match: str) -> None:
    with pytest.raises(DataError, match=match):
        read(tmp_path / "a.npz", images=images, labels=labels)


def test_an_array_in_any_spelling_states_patients(tmp_path: Path) -> None:
    base = {"images": np.zeros((3, 4, 4), np.uint8), "labels": np.array([0, 1, 1])}
    np.savez(tmp_path / "a.npz", **base, PatientID=np.array(["p1", "p1", ""]), age=np.array([1, 2, 3]))  # type: ignore[arg-type]
    source = npz.read([str(tmp_path / "a.npz")], RegionConfig(data=(str(tmp_path / "a.npz"),)))
    assert source.groups == ("p1", "p1", "a/2")
    assert not source.grouped
    assert set(source.columns) == {"age"}
