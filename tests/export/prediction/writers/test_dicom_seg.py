"""DICOM SEG, read back by highdicom's own reader."""

from __future__ import annotations

import importlib.util
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from dicom_volumes import write_series

from lorkit.decompose.data.formats import dicom_series
from lorkit.decompose.data.formats.dicom_geometry import from_ras
from lorkit.decompose.errors import DataError, MissingRuntimeError, UsageError
from lorkit.export.prediction.writers.base import LabelledMask, MaskLabel, MaskSource
from lorkit.export.prediction.writers.dicom_seg import DicomSegWriter, structure_code

hd = pytest.importorskip("highdicom")
AFFINE = np.diag([1.0, 2.0, 3.0, 1.0])
LABELS = (MaskLabel(1, "liver", "abdomen"), MaskLabel(3, "spleen", "abdomen"), MaskLabel(4, "odd thing", "abdomen"))
SOURCE = MaskSource("abdomen", "expert onnx fp32", {"abdomen": 64 * "a"}, "1.2.3")
VALUES = np.random.default_rng(0).integers(0, 4096, (9, 5, 4)).astype(np.int16)
MASK = np.random.default_rng(1).choice([0, 1, 3], (9, 5, 4)).astype(np.uint8)  # the odd thing is empty


def written(folder: Path, mask: LabelledMask, source: MaskSource = SOURCE) -> Any:
    (data,) = DicomSegWriter().encode(mask, source)
    (folder.parent / "a.dcm").write_bytes(data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return hd.seg.segread(folder.parent / "a.dcm")


def slices(folder: Path) -> list[str]:
    return [pydicom.dcmread(path).SOPInstanceUID for path in dicom_series.read_grid(folder).paths]


@pytest.mark.parametrize("axes", ["SPL", "IAR", "RSA"])
def test_every_structure_is_a_segment_and_comes_back_bit_equal(tmp_path: Path, axes: str) -> None:
    folder = write_series(tmp_path / "case", VALUES, AFFINE, axes=axes)
    found = written(folder, LabelledMask(folder, MASK, LABELS))
    pixels = found.get_pixels_by_source_instance(slices(folder), assert_missing_frames_are_empty=True)
    grid = dicom_series.read_grid(folder)
    for segment, label in enumerate(LABELS):
        np.testing.assert_array_equal(pixels[..., segment], from_ras(grid.stack, label.value == MASK))
    assert [one.SegmentLabel for one in found.SegmentSequence] == ["liver", "spleen", "odd thing"]
    assert pixels[..., 2].sum() == 0


def test_it_says_what_made_it_and_belongs_to_the_study_of_its_series(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "case", VALUES, AFFINE)
    found = written(folder, LabelledMask(folder, MASK, LABELS))
    source = pydicom.dcmread(next(folder.iterdir()))
    for name in ("StudyInstanceUID", "PatientID", "PatientName", "FrameOfReferenceUID"):
        assert found[name].value == source[name].value
    assert found.PatientBirthDate == ""  # not in the series, and may be empty
    (referenced,) = found.ReferencedSeriesSequence
    assert referenced.SeriesInstanceUID == source.SeriesInstanceUID != found.SeriesInstanceUID
    assert len(referenced.ReferencedInstanceSequence) == len(slices(folder))
    assert (found.Manufacturer, found.SoftwareVersions, found.DeviceSerialNumber) == ("lorkit", "1.2.3", 64 * "a")
    assert "not for diagnosis" in found.SeriesDescription
    (algorithm,) = found.SegmentSequence[0].SegmentationAlgorithmIdentificationSequence
    assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == ("lorkit abdomen", "1.2.3")
    assert 64 * "a" in str(algorithm.AlgorithmParameters)
    again = written(folder, LabelledMask(folder, MASK, LABELS))
    assert again.SOPInstanceUID == found.SOPInstanceUID
    other = written(folder, LabelledMask(folder, MASK[::-1], LABELS))
    assert other.SOPInstanceUID != found.SOPInstanceUID


def test_segments_may_overlap_and_all_may_be_empty(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "case", VALUES, AFFINE)
    labels = (MaskLabel(1, "liver", "abdomen"), MaskLabel(2, "vessel", "abdomen"))
    grid = dicom_series.read_grid(folder)
    for bits in (np.random.default_rng(2).integers(0, 4, MASK.shape).astype(np.uint8), np.zeros_like(MASK)):
        found = written(folder, LabelledMask(folder, bits, labels, overlapping=True))
        pixels = found.get_pixels_by_source_instance(slices(folder), assert_missing_frames_are_empty=True)
        for segment, label in enumerate(labels):
            np.testing.assert_array_equal(pixels[..., segment], from_ras(grid.stack, bits & label.value != 0))


def test_what_cannot_be_written_is_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = DicomSegWriter()
    with pytest.raises(UsageError, match=r"--to dicom-seg for .*a\.nii\.gz.*--to nifti"):
        writer.check(tmp_path / "a.nii.gz")
    folder = write_series(tmp_path / "case", VALUES, AFFINE, FrameOfReferenceUID="")
    with pytest.raises(DataError, match=r"001\.dcm has no FrameOfReferenceUID|004\.dcm has no FrameOfReferenceUID"):
        writer.check(folder)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingRuntimeError, match=r'pip install "lorkit\[dicom\]"') as caught:
        writer.check(folder)
    assert caught.value.exit_code == 5


def test_listed_structures_have_their_code_and_others_one_of_ours() -> None:
    assert structure_code("liver").value == "10200004"
    assert structure_code("liver").scheme_designator == "SCT"
    own = structure_code("odd thing")
    assert own.scheme_designator == "99LORKIT"
    assert own.meaning == "odd thing"
    assert own.value == structure_code("odd thing").value != structure_code("odd thin").value
