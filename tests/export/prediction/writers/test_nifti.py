"""Masks as NIfTI: on the grid of a file or of a series, with names of their values."""

from __future__ import annotations

import gzip
import xml.etree.ElementTree as ET
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from dicom_volumes import write_series, write_stored

from lorkit.decompose.data.formats.registry import open_image
from lorkit.decompose.errors import DataError, UsageError
from lorkit.export.prediction.masks import colour
from lorkit.export.prediction.writers.base import LabelledMask, MaskLabel, MaskSource
from lorkit.export.prediction.writers.nifti import NiftiWriter, label_xml

AFFINE = np.array([[1.5, 0, 0, -20], [0, 2, 0, 7], [0, 0, 3, -11], [0, 0, 0, 1.0]])
LABELS = (MaskLabel(1, "liver & <bile>", "abdomen"), MaskLabel(2, "spleen", "abdomen"))
SOURCE = MaskSource("abdomen", "expert fp32", {"abdomen": 64 * "a"}, "1.0")
VALUES = np.random.default_rng(0).integers(0, 4096, (5, 6, 4)).astype(np.int16)
MASK = np.random.default_rng(1).integers(0, 3, (5, 6, 4)).astype(np.uint8)


@pytest.mark.parametrize("axes", ["SPL", "IAR", "RSA", "PIL"])
def test_a_series_gets_the_affine_that_its_tags_state(tmp_path: Path, axes: str) -> None:
    folder = write_series(tmp_path / "case", VALUES, AFFINE, axes=axes)
    read = open_image(folder)
    np.testing.assert_array_equal(read.orient(read.values), VALUES - 1000)
    (data,) = NiftiWriter().encode(LabelledMask(folder, MASK, LABELS), SOURCE)
    found = nib.Nifti1Image.from_bytes(gzip.decompress(data))
    turned = nib.as_closest_canonical(found)
    np.testing.assert_array_equal(np.asarray(turned.dataobj), MASK)
    np.testing.assert_allclose(turned.affine, AFFINE, atol=1e-4)
    assert (int(found.header["sform_code"]), int(found.header["qform_code"])) == (1, 1)
    assert found.header.get_xyzt_units()[0] == "mm"


def test_names_and_colours_stand_in_the_header_and_nothing_of_the_image_does(tmp_path: Path) -> None:
    path = write_stored(tmp_path / "a.nii.gz", VALUES, AFFINE, "LIA")
    image = nib.load(path)
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"Jane Doe"))
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj), image.affine, image.header), path)
    (data,) = NiftiWriter().encode(LabelledMask(path, MASK, LABELS), SOURCE)
    found = nib.Nifti1Image.from_bytes(gzip.decompress(data))
    assert found.header.get_intent()[0] == "label"
    (extension,) = found.header.extensions
    assert extension.get_code() == 0
    content = extension.get_content()
    root = ET.fromstring(content if isinstance(content, bytes) else content.encode())
    rows = {int(row.attrib["Key"]): row for row in root.iter("Label")}
    assert {key: row.text for key, row in rows.items()} == {0: "background", 1: "liver & <bile>", 2: "spleen"}
    shade = [round(255 * float(rows[2].attrib[name])) for name in ("Red", "Green", "Blue")]
    assert tuple(shade) == colour(2)
    assert label_xml(LABELS[:1]).count(b"<Label ") == 2


def test_structures_that_overlap_get_a_file_each(tmp_path: Path) -> None:
    path = write_stored(tmp_path / "a.nii.gz", VALUES, AFFINE, "RAS")
    bits = np.random.default_rng(2).integers(0, 4, MASK.shape).astype(np.uint8)
    writer = NiftiWriter()
    assert writer.suffixes(LABELS, overlapping=True) == ["_liver____bile_.nii.gz", "_spleen.nii.gz"]
    files = [*writer.encode(LabelledMask(path, bits, LABELS, overlapping=True), SOURCE)]
    for value, data in enumerate(files, start=1):
        found = np.asarray(nib.Nifti1Image.from_bytes(gzip.decompress(data)).dataobj)
        np.testing.assert_array_equal(found, np.where(bits & value, value, 0))


def test_pictures_and_series_without_spacing_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--to nifti for .*a\.png.*leave --to out"):
        NiftiWriter().check(tmp_path / "a.png")
    folder = write_series(tmp_path / "case", VALUES, AFFINE, PixelSpacing=None)
    with pytest.raises(DataError, match="case states no pixel spacing"):
        NiftiWriter().check(folder)
