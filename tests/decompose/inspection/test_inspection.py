"""What inspect says of images and artifacts."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from dicom_files import PIXELS, write_dicom
from PIL import Image
from resealing import reseal

from lorkit.decompose import inspect, open_image
from lorkit.decompose.artifacts import read_manifest, write_manifest
from lorkit.decompose.artifacts.keys import _passing_key
from lorkit.decompose.data.samples.pseudonyms import Pseudonyms
from lorkit.decompose.errors import UsageError
from lorkit.decompose.runs import Run


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Image.fromarray(np.full((3, 4), 7, np.uint8)).save(tmp_path / "a.png")
    write_dicom(tmp_path / "b.dcm", PatientID="P1", RescaleIntercept="-10", PhotometricInterpretation="MONOCHROME1",
                PixelSpacing=["0.5", "0.25"])  # fmt: skip
    (tmp_path / "c.png").write_text("no image", encoding="utf-8")
    return tmp_path


def test_every_image_is_described_and_the_broken_one_named(folder: Path) -> None:
    document, errors = inspect([folder])
    assert [Path(file.path).name for file in document.files] == ["a.png", "b.dcm"]
    assert [str(error) for error in errors] == [str(errors[0])]
    assert "c.png cannot be decoded" in str(errors[0])
    gray, scan = document.files
    assert (gray.format, gray.shape, gray.min_value, gray.mean_value, gray.group, gray.inverted) == (
        "PNG",
        [3, 4],
        7,
        7,
        None,
        False,
    )
    assert (scan.min_value, scan.max_value, scan.spacing_mm, scan.inverted) == (
        -10,
        PIXELS.max() - 10,
        [0.5, 0.25],
        True,
    )
    assert scan.notes == ["rescale 1 x - 10 applied", "no window of the file: stored range -10 to 4085"]
    assert scan.sha256 == open_image(folder / "b.dcm").sha256
    np.testing.assert_array_equal(open_image(folder / "b.dcm").float32, PIXELS.astype(np.float32) - 10)


def test_the_patient_is_a_keyed_hash(own_keys: None, folder: Path) -> None:
    first = inspect([folder / "b.dcm"]).document
    assert first.warnings
    assert first.files[0].group == inspect([folder / "b.dcm"]).document.files[0].group
    _passing_key.cache_clear()  # as another process
    assert first.files[0].group not in (None, "P1", inspect([folder / "b.dcm"]).document.files[0].group)
    key = Pseudonyms(folder / "runs", create=True)
    expected = key.pseudonym("P1")
    again = inspect([folder / "b.dcm"]).document
    assert again.files[0].group == expected
    assert not again.warnings
    assert "P1" not in again.model_dump_json()


def test_an_artifact_says_whether_it_holds(small_run: Run, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(small_run.path, tmp_path / "copy"))
    (found,) = inspect([copy]).document.artifacts
    assert (found.kind, found.problem, found.synthetic) == ("run", None, False)
    assert not inspect([copy]).document.files
    with (copy / "config.yaml").open("a", encoding="utf-8") as stream:
        stream.write("# changed\n")
    (changed,) = inspect([copy]).document.artifacts
    assert "config.yaml has changed" in (changed.problem or "")


@pytest.mark.parametrize("path", ["", ".", "../report", "../other"])
def test_a_parent_that_is_another_artifact_ends_the_chain(tmp_path: Path, path: str) -> None:
    for name, of in (("first", None), ("other", "first"), ("report", "other")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
        parent = None if of is None else read_manifest(tmp_path / of)
        write_manifest(tmp_path / name, "report", synthetic=False, parent=parent)
    assert len(inspect([tmp_path / "report"]).document.artifacts[0].parents) == 2
    reseal(tmp_path / "report", lambda manifest: manifest["parent"].update(path=path, sha256=64 * "0"))
    (found,) = inspect([tmp_path / "report"]).document.artifacts
    assert [parent.holds for parent in found.parents] == [False]


def test_nothing_to_inspect_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        inspect([])
    assert "no file at" in str(inspect([tmp_path / "none.png"]).errors[0])
    assert "no image in" in str(inspect([tmp_path]).errors[0])


def test_what_cannot_be_read_leaves_the_other_inputs(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "manifest.json").write_text("{", encoding="utf-8")
    document, errors = inspect([tmp_path / "empty", broken, "a" * 5000, folder / "b.dcm"])
    assert [Path(file.path).name for file in document.files] == ["b.dcm"]
    texts = [str(error) for error in errors]
    assert ["no image in" in texts[0], "cannot be read (File name too long)" in texts[1], "not JSON" in texts[2]] == [
        True
    ] * 3
    assert all(len(text) < 400 for text in texts)


def test_a_folder_stands_for_the_artifacts_and_images_in_it(small_run: Run, folder: Path, tmp_path: Path) -> None:
    runs = tmp_path / "others"
    shutil.copytree(small_run.path, runs / "one")
    shutil.copy(folder / "a.png", runs)
    document, errors = inspect([runs])
    assert [one.kind for one in document.artifacts] == ["run"]
    assert [Path(file.path).name for file in document.files] == ["a.png"]
    assert not errors
