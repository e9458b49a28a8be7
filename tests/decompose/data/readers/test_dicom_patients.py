"""The patients of DICOM files come from their headers, and reach nothing but a keyed hash."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from dicom_files import write_dicom
from PIL import Image

from lorkit.decompose.config import RegionConfig
from lorkit.decompose.data.formats.registry import open_image
from lorkit.decompose.data.readers.dicom_patients import patients_in_headers
from lorkit.decompose.data.readers.registry import read_region
from lorkit.decompose.data.samples.pseudonyms import Pseudonyms


def files(folder: Path, patients: list[str], studies: list[str]) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    return [
        write_dicom(
            folder / f"{index}.dcm",
            rng.integers(0, 4096, (8, 8), dtype=np.uint16),
            PatientID=patient,
            StudyInstanceUID=study,
        )
        for index, (patient, study) in enumerate(zip(patients, studies, strict=True))
    ]


@pytest.mark.parametrize(
    ("patients", "groups", "notice"),
    [
        (["A", "A", "B"], ("A", "A", "B"), None),
        (["A", "", "B"], ("A", "B", "B"), "is empty in 1 file: there the study is used"),
        (["", "", ""], ("study 1", "study 2", "study 2"), "PatientID is empty: studies"),
        (["", "A", "A"], ("study 1", "study 2", "study 2"), "is the same in all files"),
        (["A", "A", "A"], ("study 1", "study 2", "study 2"), "is the same in all files"),
    ],
)
def test_the_patient_id_or_else_the_study_groups(
    tmp_path: Path, patients: list[str], groups: tuple[str, ...], notice: str | None
) -> None:
    found = patients_in_headers(files(tmp_path, patients, ["1", "2", "2"]))
    assert found is not None
    assert found.groups == groups
    assert [notice in text for text in found.notices if notice] == [True] * (notice is not None)


def test_other_files_state_no_patient(tmp_path: Path) -> None:
    paths = files(tmp_path, ["A", "A", "B"], ["1", "2", "3"])
    Image.new("L", (4, 4)).save(tmp_path / "a.png")
    mixed = patients_in_headers([*paths, tmp_path / "a.png"])
    assert mixed is not None
    assert (mixed.groups, mixed.complete) == (("A", "A", "B", None), False)
    assert mixed.notices == ("1 file without a patient: each is a group of its own",)
    assert patients_in_headers([]) is None
    assert patients_in_headers([tmp_path / "a.png"]) is None
    partial = patients_in_headers(files(tmp_path / "b", ["", ""], ["", "1"]))
    assert partial is not None
    assert partial.groups == (None, "study 1")


def test_known_patients_stay_together_beside_files_of_none(tmp_path: Path) -> None:
    for name in ("clear", "lesion"):
        files(tmp_path / "data" / name, ["A", "A", "B"], ["1", "2", "3"])
        Image.new("L", (8, 8), len(name)).save(tmp_path / "data" / name / "z.png")
    found = read_region("r", RegionConfig(data=("data",)), base=tmp_path)
    assert not found.region.grouped
    assert len(set(found.groups)) == 4
    assert found.groups[0] == found.groups[1] == found.groups[4]


@pytest.mark.usefixtures("own_keys")
def test_what_decides_a_run_does_not_depend_on_the_key_of_patients(own_keys: None, tmp_path: Path) -> None:
    files(tmp_path / "data" / "clear", ["A", "A", "B"], ["1", "2", "3"])
    files(tmp_path / "data" / "lesion", ["C", "C", "B"], ["4", "5", "6"])
    one, two = (
        read_region("r", RegionConfig(data=("data",)), base=tmp_path, pseudonyms=Pseudonyms(tmp_path / name))
        for name in ("a", "b")
    )
    assert set(one.groups).isdisjoint(two.groups)
    assert one.digest == two.digest
    apart = replace(one, groups=("x", *one.groups[1:]))
    assert apart.digest != one.digest


def test_a_region_of_dicom_files_is_grouped_by_keyed_hashes(tmp_path: Path) -> None:
    files(tmp_path / "data" / "clear", ["A", "A", "B"], ["1", "2", "3"])
    files(tmp_path / "data" / "lesion", ["C", "C", "B"], ["4", "5", "6"])
    keys = Pseudonyms(tmp_path / "runs", create=True)
    found = read_region("r", RegionConfig(data=("data",)), base=tmp_path, pseudonyms=keys)
    assert found.region.grouped
    assert found.groups == tuple(keys.pseudonym(patient) for patient in "AABCCB")
    rows = ["path,label"] + [f"data/{name}/{index}.dcm,{name}" for name in ("clear", "lesion") for index in range(3)]
    (tmp_path / "list.csv").write_text("\n".join(rows), encoding="utf-8")
    listed = read_region("r", RegionConfig(data=("list.csv",)), base=tmp_path, pseudonyms=keys)
    assert listed.groups == found.groups
    assert listed.digests == found.digests


def test_a_stated_column_wins_over_headers(tmp_path: Path) -> None:
    files(tmp_path / "data", ["A", "A", "B"], ["1", "2", "3"])
    rows = ["path;label;Patient_ID", "data/0.dcm;x;P1", "data/1.dcm;y;P2", "data/2.dcm;y;P2"]
    (tmp_path / "list.csv").write_text("\n".join(rows), encoding="utf-8")
    found = read_region("r", RegionConfig(data=("list.csv",)), base=tmp_path)
    assert (found.groups, found.region.grouped) == (("P1", "P2", "P2"), True)


def test_without_patients_the_split_is_by_image_and_that_is_said(tmp_path: Path) -> None:
    for name in ("P1_a", "P1_b", "P2_a", "P2_b"):
        folder = tmp_path / "data" / ("x" if name.startswith("P1") else "y")
        folder.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(int.from_bytes(name.encode())).integers(0, 255, (8, 8), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{name}.png")
    plain = read_region("r", RegionConfig(data=("data",)), base=tmp_path)
    assert plain.region.grouped is False
    assert plain.notices[0] == "split by image: patients unknown"
    assert "the names suggest 2 patients" in plain.notices[1]
    grouped = read_region("r", RegionConfig(data=("data",), groups=r"^(P\d+)_"), base=tmp_path)
    assert (grouped.groups, grouped.region.grouped, grouped.notices) == (("P1", "P1", "P2", "P2"), True, ())


def test_a_table_lists_folders_of_slices_as_volumes(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for scan in range(2):
        (tmp_path / f"scan{scan}").mkdir()
        for index in range(4):
            write_dicom(
                tmp_path / f"scan{scan}" / f"{index}.dcm",
                rng.integers(0, 4096, (5, 6), dtype=np.uint16),
                PatientID=f"P{scan}",
                SeriesInstanceUID=f"1.2.{scan + 1}",
                ImagePositionPatient=["0", "0", str(-index)],
                ImageOrientationPatient=["1", "0", "0", "0", "1", "0"],
            )
    (tmp_path / "list.csv").write_text("path,label\nscan0,a\nscan1,b\n", encoding="utf-8")
    keys = Pseudonyms(tmp_path / "runs", create=True)
    found = read_region("r", RegionConfig(data=("list.csv",)), base=tmp_path, dims=3, pseudonyms=keys)
    assert found.groups == (keys.pseudonym("P0"), keys.pseudonym("P1"))
    volume = open_image(tmp_path / "scan1")
    np.testing.assert_allclose(found.images[1], volume.orient(volume.values) / 4095, rtol=1e-6)
