"""Held-out patients are found among images without labels, however the two kinds of images name them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dicom_files import write_dicom
from PIL import Image

from lorkit.decompose.config import RegionConfig, SplitConfig, load_config
from lorkit.decompose.data.inspection import inspect
from lorkit.decompose.data.readers.registry import read_region
from lorkit.decompose.data.readers.unlabelled import read_unlabelled
from lorkit.decompose.data.samples.samples import RegionSamples
from lorkit.decompose.data.splits import Splits, split_regions
from lorkit.decompose.data.unlabelled import check_unlabelled
from lorkit.decompose.errors import DataError

PATIENTS = [f"P{index:02d}" for index in range(12)]
RNG = np.random.default_rng(3)


def dicom(path: Path, patient: str, study: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_dicom(path, RNG.integers(0, 4096, (8, 8), dtype=np.uint16), PatientID=patient, StudyInstanceUID=study)


def of_headers(root: Path, ids: Callable[[str], str]) -> RegionConfig:
    """Two files of each patient, in folders of classes."""
    for index, patient in enumerate(PATIENTS * 2):
        dicom(root / "labelled" / "ab"[index % 2] / f"{index}.dcm", ids(patient), f"1.{index % 12}")
    return RegionConfig.model_validate({"data": ["labelled"], "unlabelled": ["more"]})


def of_column(root: Path, ids: Callable[[str], str]) -> RegionConfig:
    """The same files in a table with a column of patients."""
    of_headers(root, ids)
    rows = [f"{'ab'[index % 2]}/{index}.dcm,{'ab'[index % 2]},{patient}" for index, patient in enumerate(PATIENTS * 2)]
    (root / "labelled" / "table.csv").write_text("\n".join(["path,label,patient", *rows]) + "\n")
    return RegionConfig.model_validate({"data": ["labelled/table.csv"], "unlabelled": ["more"]})


def own(patient: str) -> str:
    return patient


def nobody(patient: str) -> str:
    del patient
    return ""


def unlabelled_folder(root: Path, patient: str) -> None:
    """Files of other patients beside one of this patient, from another study."""
    dicom(root / "more" / "a.dcm", "Q1", "2.1")
    dicom(root / "more" / "b.dcm", patient, "2.2")


def unlabelled_file(root: Path, patient: str) -> None:
    """Files of this patient alone, whose id is then the same in all files."""
    dicom(root / "more" / "a.dcm", patient, "2.1")
    dicom(root / "more" / "b.dcm", patient, "2.2")


def unlabelled_incomplete(root: Path, patient: str) -> None:
    """A file of this patient beside one that no header names."""
    unlabelled_folder(root, patient)
    Image.fromarray(RNG.integers(0, 255, (8, 8), dtype=np.uint8)).save(root / "more" / "c.png")


def unlabelled_table(root: Path, patient: str) -> None:
    """A table without DICOM files."""
    for name in "xy":
        (root / "more").mkdir(exist_ok=True)
        Image.fromarray(RNG.integers(0, 255, (8, 8), dtype=np.uint8)).save(root / "more" / f"{name}.png")
    (root / "more" / "table.csv").write_text(f"path,patient\nx.png,\ny.png,{patient}\n")


def unlabelled_folders(root: Path, patient: str) -> None:
    """A folder of each patient."""
    for name in ("Q1", patient):
        (root / "more" / name).mkdir(parents=True)
        Image.fromarray(RNG.integers(0, 255, (8, 8), dtype=np.uint8)).save(root / "more" / name / "1.png")


def read(root: Path, config: RegionConfig, table: bool) -> tuple[RegionSamples, Splits, RegionSamples]:
    labelled = read_region("r", config, base=root)
    splits = split_regions({"r": labelled}, SplitConfig(), seed=0)
    config = config.model_copy(update={"unlabelled": ("more/table.csv",)}) if table else config
    return labelled, splits, read_unlabelled(labelled, config, base=root)


SOURCES = [unlabelled_folder, unlabelled_file, unlabelled_incomplete, unlabelled_table, unlabelled_folders]


@pytest.mark.parametrize("make", SOURCES)
@pytest.mark.parametrize("known_by", [of_headers, of_column])
@pytest.mark.parametrize("part", ["val", "test", "train"])
def test_a_held_out_patient_is_found(tmp_path: Path, known_by: Any, make: Any, part: str) -> None:
    config = known_by(tmp_path, own)
    labelled = read_region("r", config, base=tmp_path)
    index = int(split_regions({"r": labelled}, SplitConfig(), seed=0).parts("r")[part][0])
    make(tmp_path, PATIENTS[int(Path(labelled.ids[index]).stem) % 12])
    labelled, splits, found = read(tmp_path, config, make is unlabelled_table)
    if part == "train":
        assert labelled.groups[index] in found.groups
        check_unlabelled({"r": labelled}, splits, {"r": found})
    else:
        with pytest.raises(DataError, match=f"patient .* is in the {part} part"):
            check_unlabelled({"r": labelled}, splits, {"r": found})


def test_a_held_out_study_is_found(tmp_path: Path) -> None:
    config = of_headers(tmp_path, nobody)
    labelled = read_region("r", config, base=tmp_path)
    index = int(split_regions({"r": labelled}, SplitConfig(), seed=0).parts("r")["test"][0])
    dicom(tmp_path / "more" / "a.dcm", "Q1", f"1.{int(Path(labelled.ids[index]).stem) % 12}")
    dicom(tmp_path / "more" / "b.dcm", "Q2", "2.2")
    labelled, splits, found = read(tmp_path, config, table=False)
    with pytest.raises(DataError, match=r"'a\.dcm'.* is in the test part"):
        check_unlabelled({"r": labelled}, splits, {"r": found})


def test_names_of_images_are_no_patients(tmp_path: Path) -> None:
    arrays: dict[str, Any] = {"images": RNG.integers(0, 255, (12, 8, 8), dtype=np.uint8)}
    np.savez(tmp_path / "labelled.npz", labels=np.arange(12) % 2, ids=np.array(PATIENTS), **arrays)
    arrays = {"images": RNG.integers(0, 255, (12, 8, 8), dtype=np.uint8), "ids": np.array(PATIENTS)}
    np.savez(tmp_path / "more.npz", patient=np.array(["", *["Q"] * 11]), **arrays)
    config = RegionConfig.model_validate({"data": ["labelled.npz"], "unlabelled": ["more.npz"]})
    labelled, splits, found = read(tmp_path, config, table=False)
    assert set(labelled.groups).isdisjoint(found.groups)
    (_, text) = check_unlabelled({"r": labelled}, splits, {"r": found})
    assert "unknown for some or all" in text


def test_ids_of_another_kind_are_stated(tmp_path: Path) -> None:
    config = of_column(tmp_path, lambda patient: f"internal-{patient}")
    unlabelled_folder(tmp_path, "internal-P00")
    labelled, splits, found = read(tmp_path, config, table=False)
    assert any(
        "check that both have the same ids" in text for text in check_unlabelled({"r": labelled}, splits, {"r": found})
    )


def test_data_finds_them_before_there_is_a_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    of_headers(tmp_path, own)
    for index, patient in enumerate(PATIENTS):
        dicom(tmp_path / "more" / f"{index}.dcm", patient, f"3.{index}")
    text = "image: {size: 8, channels: 1}\nregions: {r: {data: labelled, unlabelled: more}}\n"
    (tmp_path / "decompose.yaml").write_text(text)
    with pytest.raises(DataError, match=r"patient .* part of region 'r'"):
        inspect(load_config(tmp_path / "decompose.yaml"))
