"""CSV of volumes and masks: NIfTI and DICOM images, structures, patients, and one clear line for each mistake."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from dicom_files import write_dicom
from pydicom.uid import SegmentationStorage

from lorkit.decompose.config import RegionConfig
from lorkit.decompose.data.readers import csv_pairs
from lorkit.decompose.data.readers.registry import read_region
from lorkit.decompose.data.samples.source import Source
from lorkit.decompose.errors import DataError

TABLE = "image,mask,patient,split\nscans/0.nii.gz,masks/0.nii.gz,p1,train\nscans/1.nii.gz,masks/1.nii.gz,p2,test\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for index in range(2):
        image = np.random.default_rng(index).integers(0, 99, (6, 7, 8)).astype(np.int16)
        mask = (image > 50).astype(np.uint8) * 4
        # the mask is stored the other way along its first axis
        turned = np.diag([-1.0, 1, 1, 1])
        turned[0, 3] = 5
        for folder, values, affine in (("scans", image, np.eye(4)), ("masks", mask[::-1], turned)):
            (tmp_path / folder).mkdir(exist_ok=True)
            nibabel.save(nibabel.Nifti1Image(values, affine), tmp_path / folder / f"{index}.nii.gz")
    return tmp_path


def read(root: Path, text: str = TABLE, **settings: Any) -> Source:
    path = root / "pairs.csv"
    path.write_text(text, encoding="utf-8")
    assert csv_pairs.accepts([str(path)]) == 1
    return csv_pairs.read([str(path)], RegionConfig(data=(str(path),), **{"structures": {"bright": 4}, **settings}))


def test_pairs_are_read_and_turned(root: Path) -> None:
    source = read(root)
    assert (source.classes, source.groups, source.parts) == (("bright",), ("p1", "p2"), ("train", "test"))
    assert source.spacings == ((1.0, 1.0, 1.0),) * 2
    assert source.masks is not None
    for index in range(2):
        np.testing.assert_array_equal(source.masks[index], source.images[index] > 50)


def test_the_registry_reads_them_as_a_region_of_masks(root: Path) -> None:
    (root / "pairs.csv").write_text(TABLE, encoding="utf-8")
    config = RegionConfig(data=("pairs.csv",), structures={"bright": 4}, intensity="percentile")
    samples = read_region("x", config, base=root, dims=3)
    assert (samples.region.task, samples.region.classes) == ("segmentation", ("bright",))


def test_an_image_may_be_a_folder_of_slices(root: Path) -> None:
    folder = root / "series"
    folder.mkdir()
    for index, z in enumerate((4.0, 0.0, 2.0)):
        place = {"ImagePositionPatient": ["0", "0", str(z)], "ImageOrientationPatient": ["1", "0", "0", "0", "1", "0"]}
        tags = {"SeriesInstanceUID": "1.2.9", "PixelSpacing": ["0.5", "0.25"], "PatientID": "P7", **place}
        write_dicom(folder / f"{index}.dcm", np.full((5, 6), 10 + index, np.uint16), **tags)
    affine = np.diag([-0.25, -0.5, 2.0, 1.0])  # columns run to the left, rows to the back
    mask = np.zeros((6, 5, 3), np.uint8)
    mask[:, :, 2] = 4
    nibabel.save(nibabel.Nifti1Image(mask, affine), root / "series.nii.gz")
    source = read(root, "path,label\nseries,series.nii.gz\n", window=(0, 50))
    assert source.spacings == ((0.25, 0.5, 2.0),)
    assert source.masks is not None
    assert np.unique(source.images[0][source.masks[0] > 0]).tolist() == [10.0]
    nibabel.save(nibabel.Nifti1Image(mask, np.diag([0.25, -0.5, 2.0, 1.0])), root / "series.nii.gz")
    with pytest.raises(DataError, match=r"series.nii.gz and its image have different affines"):
        read(root, "path,label\nseries,series.nii.gz\n")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image,mask\nscans/0.nii.gz,\nscans/1.nii.gz,masks/1.nii.gz\n", r"pairs.csv, line 2: mask is empty"),
        ("image,mask\nscans/0.nii.gz,masks/9.nii.gz\n", r"pairs.csv, line 2: no image at .*masks/9.nii.gz"),
        ("image,mask\nscans/0.nii.gz,../x.nii.gz\n", r"pairs.csv, line 2: .* lies outside"),
        ("image,mask\nscans/0.nii.gz,seg.dcm\n", r"seg\.dcm is a segmentation object; .*masks as NIfTI files"),
        ("image,mask\nseg.dcm,masks/0.nii.gz\n", r"seg\.dcm is a segmentation object"),
        ("mask,note\nmasks/0.nii.gz,x\n", r"pairs.csv has columns mask, note|none names images"),
    ],
)
def test_mistakes_are_named(root: Path, text: str, message: str) -> None:
    write_dicom(root / "seg.dcm", SOPClassUID=SegmentationStorage)
    with pytest.raises(DataError, match=message):
        read(root, text)


def test_an_unknown_label_and_a_mask_of_other_shape_are_named(root: Path) -> None:
    (root / "dataset.json").write_text('{"labels": {"background": 0, "dark": 1}}', encoding="utf-8")
    source = read(root, structures=None)
    assert source.masks is not None
    with pytest.raises(DataError, match=r"masks/0.nii.gz: value 4 in a mask"):
        source.masks[0]
    nibabel.save(nibabel.Nifti1Image(np.zeros((6, 7, 9), np.uint8), np.eye(4)), root / "masks" / "1.nii.gz")
    with pytest.raises(DataError, match=r"masks/1.nii.gz has shape \(6, 7, 9\) for an image of \(6, 7, 8\)"):
        read(root)


def test_tables_of_classes_are_of_another_reader(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("path,label,mask\na.png,cat,m.png\n", encoding="utf-8")
    assert csv_pairs.accepts([str(path)]) == 0
    path.write_bytes(b"\xff\xfe\x00")
    assert csv_pairs.accepts([str(path)]) == 0
