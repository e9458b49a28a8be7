"""Tables of images: their images and labels are found, whatever the columns are called."""

from __future__ import annotations

from pathlib import Path

import pytest

from lorkit.decompose.data.readers.folder_layouts import folders_of
from lorkit.decompose.data.readers.manifest_discovery import FoundTable, find_table, part_in_name


def find(root: Path, text: str, *, label: str | None = None, name: str = "t.csv") -> FoundTable | None:
    for image in ("1.png", "2.png"):
        (root / "pics" / "deep").mkdir(parents=True, exist_ok=True)
        (root / "pics" / "deep" / image).touch()
    (root / name).write_text(text, encoding="utf-8-sig")
    return find_table(root / name, folders_of(root), label=label)


@pytest.mark.parametrize(("prefix", "root"), [("pics/deep/", None), ("deep\\", "pics"), ("", "deep")])
@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_the_folder_of_the_images_is_found(tmp_path: Path, prefix: str, root: str | None, separator: str) -> None:
    text = f"Image,Label\n{prefix}1.png,a\n{prefix}2,b\n".replace(",", separator)
    found = find(tmp_path, text)
    assert found is not None
    assert ((found.root and found.root.name), found.label, found.problem) == (root, None, "")
    assert tmp_path / "pics" / "deep" in found.listed


@pytest.mark.parametrize(
    ("columns", "label", "labels"),
    [("label,class", None, ()), ("Diagnosis,x", "diagnosis", ()), ("Edema,sex", None, ("edema",))],
)
def test_labels_are_found_by_name_and_value(
    tmp_path: Path, columns: str, label: str | None, labels: tuple[str, ...]
) -> None:
    found = find(tmp_path, f"file,{columns}\npics/deep/1.png,1,1\npics/deep/2.png,0,0\n")
    assert found is not None
    assert (found.label, found.labels, found.problem) == (label, labels, "")


def test_the_user_may_name_the_label(tmp_path: Path) -> None:
    text = "file,kind,label\npics/deep/1.png,u,1\npics/deep/2.png,v,2\n"
    found = find(tmp_path, text, label=" Kind")
    assert found is not None
    assert found.label == "kind"
    found = find(tmp_path, text, label="none")
    assert found is not None
    assert found.problem == "has no column 'none' among file, kind, label"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("file,age\npics/deep/1.png,1\npics/deep/2.png,2\n", "lists images and no labels among age"),
        ("path,label\n/old/1.png,a\n", "lists '/old/1.png', which is not below it"),
        ("path,label\n", "lists no image"),
        ("one,two,label\npics/deep/1.png,pics/deep/2.png,a\n", "columns one and two both name images"),
    ],
)
def test_what_is_wrong_with_a_table_of_images_is_said(tmp_path: Path, text: str, problem: str) -> None:
    found = find(tmp_path, text)
    assert found is not None
    assert problem in found.problem


@pytest.mark.parametrize("text", ["user,shop,fraud\nu1,s1,1\nu2,s2,0\n", "a,b\n1,2\n", ""])
def test_other_tables_are_none_of_images(tmp_path: Path, text: str) -> None:
    assert find(tmp_path, text) is None
    assert find(tmp_path, text, name="t.txt") is None


@pytest.mark.parametrize(
    ("name", "part"),
    [("train.csv", "train"), ("Test_labels.csv", "test"), ("my-val-set.tsv", "val"), ("list.csv", None),
     ("train_test.csv", None)],
)  # fmt: skip
def test_parts_in_names(name: str, part: str | None) -> None:
    assert part_in_name(Path(name)) == part
