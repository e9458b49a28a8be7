"""CSV manifests: columns, roots, and one clear line for each mistake."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lorkit.decompose.config import RegionConfig
from lorkit.decompose.data.readers import csv_manifest
from lorkit.decompose.data.samples.patients import group_by_pattern
from lorkit.decompose.data.samples.source import Source
from lorkit.decompose.errors import DataError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    for index in range(3):
        Image.fromarray(np.full((4, 4 + index), index, np.uint8)).save(tmp_path / "images" / f"{index}.png")
    return tmp_path


def read(root: Path, text: str, *, second: bool = False, **settings: Any) -> Source:
    path = root / "rows.csv"
    path.write_text(text, encoding="utf-8")
    entries = [str(path), str(root / "images")] if second else [str(path)]
    assert csv_manifest.accepts(entries) == len(entries)
    return csv_manifest.read(entries, RegionConfig(data=tuple(entries), **settings))


def test_paths_relative_to_the_manifest(root: Path) -> None:
    source = read(root, "path,label\nimages/0.png,b\nimages/1.png,a\n")
    assert source.classes == ("a", "b")
    assert source.labels.tolist() == [1, 0]
    assert source.groups == source.ids == ("images/0.png", "images/1.png")
    assert source.images[1].shape == (4, 5)


def test_second_entry_is_the_root_and_all_columns_count(root: Path) -> None:
    text = (
        "\ufeffLabel, Path ,group,split,id,note\nx,0.png,p1,train,i0,\ny,1.png,p2,validation,i1,hm\ny,2.png,p3,test,,\n"
    )
    source = read(root, text, second=True, classes=("y", "x"))
    assert source.classes == ("y", "x")
    assert source.labels.tolist() == [1, 0, 0]
    assert source.groups == ("p1", "p2", "p3")
    assert source.parts == ("train", "val", "test")
    assert source.ids == ("i0", "i1", "2.png")


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("file,label\n7.png,a\n", "none names images"),
        ("", "none names images"),
        ("path,label,label\n0.png,a,a\n", "two columns .label."),
        ("path,label\n0.png,\n", "line 2: path or label is empty"),
        ("path,label\n0.png,a,b,c\n", "line 2: too many cells"),
        ("path,label\n0.png,a\n9.png,a\n", "line 3: no image at"),
        ("path,label\n../rows.csv,a\n", "line 2: .*outside"),
        ("path,label\n/etc/hostname,a\n", "line 2: .*outside"),
        ("path,label,split\n0.png,a,holdout\n", "line 2: split 'holdout'"),
        ('path,label\n"0.png,a\n', "cannot be read"),
    ],
)
def test_mistakes_are_named_by_line(root: Path, text: str, match: str) -> None:
    with pytest.raises(DataError, match=match):
        read(root, text, second=True)


def test_binary_and_missing_manifests_are_refused(root: Path) -> None:
    (root / "rows.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="UTF-8"):
        csv_manifest.read_manifest(root / "rows.csv", root)
    with pytest.raises(DataError, match="no file at"):
        csv_manifest.read_manifest(root / "none.csv", root)


def test_label_outside_the_configured_classes_is_refused(root: Path) -> None:
    with pytest.raises(DataError, match="label 'z'"):
        read(root, "path,label\n0.png,z\n", second=True, classes=("a", "b"))


def test_columns_in_any_spelling_state_patients_and_are_no_further_columns(root: Path) -> None:
    source = read(root, "Path;Label;Patient ID;Age\nimages/0.png;a;p1;3\nimages/1.png;b;p1;4\nimages/2.png;b;NA;5\n")
    assert source.groups == ("p1", "p1", "images/2.png")
    assert not source.grouped
    assert "column 'patient id' is empty in 1 row" in source.notices[0]
    assert set(source.columns) == {"age"}


def test_a_pattern_is_searched_in_paths_also_where_ids_are_stated(root: Path) -> None:
    source = read(root, "path,label,id\nimages\\0.png,a,x\nimages\\1.png,b,y\n")
    assert source.ids == ("x", "y")
    assert group_by_pattern("r", r"^(\d)", source).groups == ("0", "1")


CHEXPERT = """path,Sex,patient,Pleural Effusion,Nodule,Edema
images/0.png,F,p1,1.0,0.0,1
images/1.png,M,p1,-1.0,,0
images/2.png,F,p2,0,1,nan
"""


def test_several_columns_are_labels_named_by_classes(root: Path) -> None:
    source = read(root, CHEXPERT, classes=("Nodule", "Pleural Effusion"), task="multilabel")
    assert (source.task, source.classes) == ("multilabel", ("Nodule", "Pleural Effusion"))
    np.testing.assert_array_equal(source.labels, [[0, 1], [-1, -1], [1, 0]])
    assert source.groups == ("p1", "p1", "p2")
    assert set(source.columns) == {"sex", "edema"}


@pytest.mark.parametrize(
    ("text", "classes", "match"),
    [
        (CHEXPERT, None, "no classes are stated.*pleural effusion, nodule, edema"),
        (CHEXPERT, ("Nodule", "Fracture"), "no column 'Fracture'"),
        (CHEXPERT.replace(",0,1,nan", ",0,2,nan"), ("Nodule",), "line 4: '2' for label 'Nodule'"),
        (CHEXPERT.replace(",0,1,nan", ",0,yes,nan"), ("Nodule",), "line 4: 'yes' for label 'Nodule'"),
    ],
)
def test_label_columns_that_cannot_be_used_are_refused(
    root: Path, text: str, classes: tuple[str, ...] | None, match: str
) -> None:
    with pytest.raises(DataError, match=match):
        read(root, text, classes=classes, task="multilabel")


def test_a_table_of_findings_without_a_task_says_what_to_state(root: Path) -> None:
    with pytest.raises(DataError, match="state task: multilabel"):
        read(root, CHEXPERT)


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_images_and_labels_may_be_columns_of_any_name(root: Path, separator: str, mark: str) -> None:
    lines = ["Image Index,Diagnosis,age", "images\\0.png,b,30", "images\\1.png,a,40", "images\\2.png,a,50"]
    text = mark + "\n".join(lines).replace(",", separator)
    source = read(root, text, label=" Diagnosis")
    assert (source.classes, source.labels.tolist()) == (("a", "b"), [1, 0, 0])
    assert (source.ids[0], set(source.columns)) == ("images\\0.png", {"age"})
    assert [image.shape for image in source.images] == [(4, 4), (4, 5), (4, 6)]


def test_a_column_of_labels_that_is_missing_is_named_with_the_setting(root: Path) -> None:
    with pytest.raises(DataError, match=r"not 'label'.*state the column of the label as `label`"):
        read(root, "file,kind\nimages/0.png,a\n")
    with pytest.raises(DataError, match="not 'grade'"):
        read(root, "file,label\nimages/0.png,a\n", label="grade")


def test_several_labels_beside_images_of_another_column(root: Path) -> None:
    rows = "Image,Edema,Nodule\n0.png,1,0\n1.png,0,1\n2.png,1,\n"
    source = read(root, rows, second=True, task="multilabel", classes=("Edema", "Nodule"))
    assert source.labels.tolist() == [[1, 0], [0, 1], [1, -1]]
