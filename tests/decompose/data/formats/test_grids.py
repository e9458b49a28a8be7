"""Grids of volumes: order and direction of axes do not matter, places do."""

from __future__ import annotations

import os
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from dicom_files import PIXELS, write_dicom
from hypothesis import given, settings
from hypothesis import strategies as st
from nibabel import orientations

from lorkit.decompose.data.formats.grids import check_same_grid, read_grid
from lorkit.decompose.data.formats.nifti import read as read_nifti
from lorkit.decompose.data.formats.registry import open_image
from lorkit.decompose.errors import DataError

SECOND = Path(os.environ.get("LORKIT_DATA", "../shared/data")) / "second"
SHAPE = (5, 6, 7)
AFFINE = np.array([[2.0, 0.1, 0, -9], [-0.1, 1.5, 0, 4], [0, 0, 3.0, 1], [0, 0, 0, 1]])


def write(path: Path, axes: str = "RAS", affine: np.ndarray = AFFINE, shape: tuple[int, ...] = SHAPE) -> Path:
    """Write the same voxels with their axes in another order."""
    image = nibabel.Nifti1Image(np.arange(np.prod(shape), dtype=np.int16).reshape(shape), affine)
    turn = orientations.ornt_transform(orientations.axcodes2ornt("RAS"), orientations.axcodes2ornt(axes))
    nibabel.save(image.as_reoriented(turn), path)
    return path


@settings(max_examples=12, deadline=None)
@given(st.permutations([0, 1, 2]), st.lists(st.booleans(), min_size=3, max_size=3))
def test_any_order_and_direction_of_axes_is_one_grid(
    tmp_path_factory: pytest.TempPathFactory, order: list[int], flips: list[bool]
) -> None:
    folder = tmp_path_factory.mktemp("grids")
    axes = "".join(("RL", "AP", "SI")[axis][flips[axis]] for axis in order)
    plain, turned = write(folder / "a.nii.gz"), write(folder / "b.nii.gz", axes)
    found = read_grid(turned)
    assert found.shape == SHAPE
    np.testing.assert_allclose(found.affine_44, AFFINE, atol=1e-5)
    assert check_same_grid(plain, turned) == check_same_grid(turned, plain) == pytest.approx(found.spacing)
    image = read_nifti(turned)
    np.testing.assert_array_equal(image.orient(image.values), read_nifti(plain).values)


def test_voxels_elsewhere_and_other_shapes_are_refused_by_name(tmp_path: Path) -> None:
    image = write(tmp_path / "a.nii.gz")
    moved, turned, flipped = AFFINE.copy(), AFFINE.copy(), AFFINE.copy()
    moved[2, 3] += 0.5
    turned[:2, :2] = [[1.99, 0.16], [-0.2, 1.49]]  # corners are apart, although the entries nearly agree
    flipped[0, 0] = -2.0
    for number, affine in enumerate((moved, turned, flipped)):
        other = write(tmp_path / f"{number}.nii.gz", affine=affine)
        with pytest.raises(DataError, match=rf"{number}.nii.gz and its image have different affines: voxels lie up to"):
            check_same_grid(image, other)
    with pytest.raises(DataError, match=r"d.nii.gz has shape \(7, 6, 5\) for an image of \(5, 6, 7\)"):
        check_same_grid(image, write(tmp_path / "d.nii.gz", shape=(7, 6, 5)))
    rounded = AFFINE + 1e-4 * np.eye(4)
    check_same_grid(image, write(tmp_path / "e.nii.gz", affine=rounded))
    with pytest.raises(DataError, match=r"x.png is no volume"):
        read_grid(tmp_path / "x.png")


def test_four_axes_are_refused_by_name(tmp_path: Path) -> None:
    nibabel.save(nibabel.Nifti1Image(np.zeros((4, 4, 4, 2), np.uint8), np.eye(4)), tmp_path / "t.nii.gz")
    with pytest.raises(DataError, match=r"t.nii.gz has shape \(4, 4, 4, 2\)"):
        read_grid(tmp_path / "t.nii.gz")


def test_a_file_without_orientation_is_as_stored(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(np.zeros(SHAPE, np.uint8), None)
    image.header.set_qform(None, 0)
    image.header.set_sform(None, 0)
    nibabel.save(image, tmp_path / "a.nii.gz")
    found = read_grid(tmp_path / "a.nii.gz")
    assert not found.oriented
    other = write(tmp_path / "b.nii.gz", affine=found.affine_44)
    with pytest.raises(DataError, match=r"a.nii.gz states no orientation .* but its image does"):
        check_same_grid(other, tmp_path / "a.nii.gz")
    with pytest.raises(DataError, match=r"a.nii.gz states no orientation .* but its mask does"):
        check_same_grid(tmp_path / "a.nii.gz", other)


@pytest.mark.skipif(not SECOND.is_dir(), reason="no real data at hand")
def test_a_real_series_and_its_labels_share_a_grid_whose_axes_run_apart() -> None:
    series = SECOND / "dicom" / "series" / "ct_abdomen_20"
    labels = SECOND / "ct_organs" / "ct_abdomen_20_labels.nii.gz"
    assert check_same_grid(series, labels) == pytest.approx(read_grid(labels).spacing, abs=1e-4)
    image, mask = open_image(series), read_nifti(labels)
    hounsfield, number = image.orient(image.values), mask.orient(mask.values)
    assert hounsfield.shape == number.shape
    for organ in (1, 5):  # spleen and liver after contrast, and not what lies at their mirror image
        assert 60 < hounsfield[number == organ].mean() < 120
        assert hounsfield[:, ::-1][number == organ].mean() < 0


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        ({"SOPClassUID": pydicom.uid.SegmentationStorage}, "is a segmentation object; .*dcmqi"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.66.7"}, "is a label map object"),
        ({"NumberOfFrames": "2"}, "is a DICOM file of 2 frames; .*dcm2niix"),
        ({}, "is one DICOM slice; .*name the folder of its series"),
    ],
)
def test_a_dicom_file_as_image_or_mask_says_what_it_is(tmp_path: Path, tags: dict[str, str], message: str) -> None:
    """A segmentation, several frames and a slice each need something else."""
    path = write_dicom(tmp_path / "a.dcm", np.stack([PIXELS, PIXELS]) if "NumberOfFrames" in tags else PIXELS, **tags)
    for pair in ((path, write(tmp_path / "b.nii.gz")), (write(tmp_path / "b.nii.gz"), path)):
        with pytest.raises(DataError, match=rf"a\.dcm {message}"):
            check_same_grid(*pair)
