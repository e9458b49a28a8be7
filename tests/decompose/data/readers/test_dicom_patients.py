"""The patients of DICOM files come from their headers, and reach nothing but a keyed hash."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from dicom_files import write_dicom
from PIL import Image

from lorkit.decompose.config import RegionConfig
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
        (["A", "", "B"], ("study 1", "study 2", "study 2"), "is empty"),
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
    paths = files(tmp_path, ["A", "B"], ["1", "2"])
    Image.new("L", (4, 4)).save(tmp_path / "a.png")
    assert patients_in_headers([*paths, tmp_path / "a.png"]) is None
    assert patients_in_headers([]) is None
    assert patients_in_headers(files(tmp_path / "b", ["", ""], ["", "1"])) is None


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
