"""Finding data below a directory: what becomes a region, under which name, and what is left out with a reason."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from small_graphs import write_graph, write_payments

from lorkit.decompose.config import load_config
from lorkit.decompose.data import read_region
from lorkit.decompose.data.formats.pictures import SUFFIXES
from lorkit.decompose.data.readers.discovery import discover
from lorkit.decompose.errors import DataError, MissingRuntimeError, UsageError


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
    touch(tmp_path / "knee" / "a.png")
    (tmp_path / "knee" / "list.csv").write_text("path,label,group\na.png,KL0,p1\n")
    (tmp_path / "knee" / "labels.csv").write_text("id,grade\n1,2\n")
    found = {entry.name: entry for entry in discover(tmp_path)}
    assert sorted(found) == ["brain", "chest-x-ray", "eye", "knee"]
    assert (found["eye"].masks, found["eye"].problem) == (True, "")
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


@pytest.mark.parametrize("parts", [("Training", "Testing"), ("train", "test"), ("TRAIN_SET", "test set", "valid")])
def test_parts_in_any_spelling_are_one_region_also_beside_other_folders(tmp_path: Path, parts: tuple[str, ...]) -> None:
    for part in (*parts, "copy/train", "copy/test"):
        touch(tmp_path / "skin" / part / "mole" / "1.png", tmp_path / "skin" / part / "nevus" / "2.png")
    touch(tmp_path / "skin" / "__MACOSX" / "train" / "mole" / "._1.png", tmp_path / "skin" / ".DS_Store")
    assert [(entry.name, entry.path.name) for entry in discover(tmp_path)] == [("skin", "skin")]


@pytest.mark.parametrize(("prefix", "root"), [("pics/", None), ("", "pics")])
@pytest.mark.parametrize("flat", [False, True])
def test_a_manifest_and_the_folder_of_its_images_are_one_region(
    tmp_path: Path, prefix: str, root: str | None, flat: bool
) -> None:
    names = ["1.png", "2.png"] if flat else ["a/1.png", "b/2.png"]
    touch(*(tmp_path / "pics" / name for name in names))
    lines = "".join(f"{prefix}{name},{number}\n" for number, name in enumerate(names))
    (tmp_path / "pics.csv").write_text("path,label\n" + lines)
    found = [entry for entry in discover(tmp_path) if not entry.problem]
    assert [(one.name, one.path.name, one.root and one.root.name) for one in found] == [("pics", "pics.csv", root)]
    if not flat:
        (twin,) = [entry for entry in discover(tmp_path) if entry.problem]
        assert (twin.path.name, twin.problem) == ("pics", "its images are listed in pics.csv")


def test_a_manifest_among_its_class_folders_is_preferred(tmp_path: Path) -> None:
    touch(tmp_path / "x" / "a" / "1.png", tmp_path / "x" / "b" / "2.png")
    (tmp_path / "x" / "list.csv").write_text("path,label,patient\na/1.png,a,p\nb/2.png,b,q\n")
    assert [entry.path.name for entry in discover(tmp_path) if not entry.problem] == ["list.csv"]


def test_a_manifest_whose_images_are_elsewhere_is_left_out_with_the_reason(tmp_path: Path) -> None:
    touch(tmp_path / "pics" / "a" / "1.png", tmp_path / "pics" / "b" / "2.png")
    (tmp_path / "meta").mkdir()
    (tmp_path / "meta" / "list.csv").write_text("path,label\n../pics/a/1.png,a\n")
    found = {entry.path.name: entry.problem for entry in discover(tmp_path)}
    assert found == {"list.csv": "lists '../pics/a/1.png', which is not below it", "pics": ""}


def test_pairs_of_volumes_are_no_classes(tmp_path: Path) -> None:
    touch(tmp_path / "n" / "imagesTr" / "c_0000.nii.gz", tmp_path / "n" / "labelsTr" / "c.nii.gz")
    (entry,) = discover(tmp_path)
    assert (entry.path.name, entry.masks, entry.problem) == ("n", True, "")


def test_a_name_that_is_reserved_is_not_given(tmp_path: Path) -> None:
    touch(tmp_path / "training" / "a" / "1.png", tmp_path / "training" / "b" / "2.png")
    assert [entry.name for entry in discover(tmp_path)] == ["training-region"]


def test_what_is_found_can_be_read(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 255, (8, 8, 8), np.uint8)
    write_npz(tmp_path / "brain.npz", images=images, labels=np.arange(8) % 2)
    (entry,) = discover(tmp_path)
    config = tmp_path / "decompose.yaml"
    config.write_text(f"regions: {{{entry.name}: {{data: {entry.path.name}}}}}\n")
    loaded = load_config(config)
    assert len(read_region("brain", loaded.regions["brain"], base=tmp_path).labels) == 8


def test_nothing_to_find(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no file or directory at"):
        discover(tmp_path / "absent")
    with pytest.raises(DataError, match=r"nothing to train on in .*\(no images and no tables\)"):
        discover(tmp_path)
    (tmp_path / "broken.npz").write_bytes(b"PK")
    with pytest.raises(DataError, match="nothing to train on in"):
        discover(tmp_path)


def test_a_table_of_findings_names_its_labels(tmp_path: Path) -> None:
    rows = ["path,sex,Edema,Effusion,Age,Fracture", "a.png,1,1.0,-1,1,", "b.png,0,0.0,1.0,30,", "c.png,1,nan,0,0,1"]
    (tmp_path / "chest.csv").write_text("\n".join(rows) + "\n")
    touch(*(tmp_path / f"{name}.png" for name in "abc"))
    (entry,) = discover(tmp_path)
    assert (entry.name, entry.labels) == ("chest", ("edema", "effusion"))


def test_graphs_are_found_where_there_are_no_images(tmp_path: Path) -> None:
    pytest.importorskip("polars", reason="the extra 'graph' is not installed")
    write_payments(tmp_path / "north.csv", seed=1)
    write_payments(tmp_path / "south.csv", seed=2)
    write_payments(tmp_path / "west.csv", more=[0.5] * 200)
    (tmp_path / "z").mkdir()
    write_graph(tmp_path / "z" / "companies.npz")
    (tmp_path / "notes.csv").write_text("a,b\n1,2\n", encoding="utf-8")
    found = {entry.path.name: entry for entry in discover(tmp_path)}
    assert [name for name, entry in found.items() if entry.graph] == ["north.csv", "south.csv"]
    assert found["north.csv"].name == "north"
    for name in ("west.csv", "companies.npz"):
        assert found[name].problem.startswith("has other relations, features or classes than north.csv")
    assert found["notes.csv"].problem.startswith("no column is named as a label among a, b; name it with --label")


def test_tables_beside_images_are_notes_and_graphs_are_named(tmp_path: Path) -> None:
    write_npz(tmp_path / "brain.npz")
    write_payments(tmp_path / "people.csv")
    write_graph(tmp_path / "companies.npz")
    found = {entry.path.name: entry.problem for entry in discover(tmp_path)}
    assert found == {
        "brain.npz": "",
        "companies.npz": "a graph, which needs a configuration of its own: --from-data with this file",
    }
    with pytest.raises(UsageError, match="--label x with"):
        discover(tmp_path, label="x")


def test_one_file_is_a_source(tmp_path: Path) -> None:
    write_npz(tmp_path / "brain.npz")
    write_npz(tmp_path / "eye.npz")
    assert [(entry.name, entry.path.name) for entry in discover(tmp_path / "brain.npz")] == [("brain", "brain.npz")]
    touch(tmp_path / "pics" / "1.png", tmp_path / "pics" / "2.png")
    (tmp_path / "pics.csv").write_text("path,label\n1.png,a\n2.png,b\n")
    (entry,) = discover(tmp_path / "pics.csv")
    assert (entry.name, entry.root) == ("pics", tmp_path / "pics")
    touch(tmp_path / "note.txt")
    with pytest.raises(DataError, match="nothing to train on"):
        discover(tmp_path / "note.txt")


def test_one_table_says_itself_why_it_is_no_graph(tmp_path: Path) -> None:
    pytest.importorskip("polars", reason="the extra 'graph' is not installed")
    table = write_payments(tmp_path / "p.csv", is_fraud=None, odd=range(200))
    with pytest.raises(DataError, match="no column is named as a label among time, user, shop, amount, odd"):
        discover(table)
    with pytest.raises(UsageError, match="unknown column 'lable'"):
        discover(table, label="lable")


def test_tables_need_an_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "polars", None)
    table = write_payments(tmp_path / "p.csv")
    with pytest.raises(MissingRuntimeError, match=r"lorkit\[graph\]"):
        discover(table)
    with pytest.raises(DataError, match=r"nothing to train on in .*tables of a graph need polars"):
        discover(tmp_path)
    write_graph(tmp_path / "g.npz")
    assert [entry.path.name for entry in discover(tmp_path) if not entry.problem] == ["g.npz"]
