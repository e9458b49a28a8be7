"""One head, stored in several ways, gets the same labels at the same places of the patient."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from dicom_volumes import write_series, write_stored
from hand_networks import hand_network, recipe_of
from numpy.typing import NDArray

from lorkit.export.prediction import prediction
from lorkit.export.prediction.prediction import predict

SIZE = (22, 26, 18)
AFFINE = np.array([[1.0, 0, 0, -11], [0, 1.25, 0, -15], [0, 0, 1.5, -8], [0, 0, 0, 1.0]])
STRUCTURES = ("right", "left", "front", "top")


def head() -> NDArray[np.int16]:
    """Draw a head that no turn or mirror maps onto itself: one lump on each of the right, left, front and top."""
    values = np.full(SIZE, 5, np.int16)
    values[3:19, 4:22, 3:15] = 20
    values[16:19, 10:16, 7:11] = 60
    values[3:6, 10:16, 7:11] = 90
    values[9:13, 19:22, 5:8] = 60
    values[9:13, 12:15, 13:15] = 60
    return values


def answer(volume_DHW: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Name bright voxels by their side of the volume, as a network that learnt heads in RAS axes would."""
    right, front, top = np.indices(volume_DHW.shape)
    bright, sides = volume_DHW > 0.4, volume_DHW.shape
    found = np.where(right > 0.65 * sides[0], 1, np.where(right < 0.35 * sides[0], 2, 0))
    found = np.where((front > 0.68 * sides[1]) & (found == 0), 3, found)
    return np.where(bright, np.where((top > 0.68 * sides[2]) & (found == 0), 4, found), 0).astype(np.uint8)


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> None:
    made = hand_network("head", STRUCTURES, answer, recipe_of(SIZE))
    monkeypatch.setattr(prediction, "open_network", lambda *args: made)


def stored_heads(folder: Path) -> list[Path]:
    """Write the head as NIfTI in R,A,S and L,I,A axes, and as series of axial and of sagittal slices."""
    values = head()
    files = [write_stored(folder / f"{axes}.nii.gz", values, AFFINE, axes) for axes in ("RAS", "LIA")]
    rescale: dict[str, Any] = {"RescaleIntercept": "0", "Modality": "MR"}
    series = [write_series(folder / axes, values, AFFINE, axes=axes, **rescale) for axes in ("SPL", "RIA")]
    return [*files, *series]


def test_a_head_gets_the_same_labels_however_it_is_stored(tmp_path: Path, network: None) -> None:
    paths = stored_heads(tmp_path)
    predict(None, paths, out=tmp_path / "out")
    for path in paths:
        name = path.name.removesuffix(".nii.gz")
        mask = nib.load(tmp_path / "out" / f"{name}.nii.gz")
        if path.is_file():
            np.testing.assert_allclose(mask.affine, nib.load(path).affine)
            assert mask.shape == nib.load(path).shape
        turned = nib.as_closest_canonical(mask)
        np.testing.assert_allclose(turned.affine, AFFINE, atol=1e-4)
        labels = np.asarray(turned.dataobj)
        np.testing.assert_array_equal(labels, answer(head() / np.float32(100)))
        # and in the patient's own axes: right is +x, front +y, top +z of the middle of the head
        middle = nib.affines.apply_affine(AFFINE, (np.array(SIZE) - 1) / 2)
        for value, axis, sign in ((1, 0, 1), (2, 0, -1), (3, 1, 1), (4, 2, 1)):
            places = nib.affines.apply_affine(mask.affine, np.argwhere(np.asarray(mask.dataobj) == value))
            assert len(places)
            assert np.sign(places.mean(0) - middle)[axis] == sign


def test_a_dicom_seg_has_them_at_the_same_places(tmp_path: Path, network: None) -> None:
    hd = pytest.importorskip("highdicom")
    paths = [path for path in stored_heads(tmp_path) if path.is_dir()]
    predict(None, paths, out=tmp_path / "out", to="dicom-seg")
    for path in paths:
        found = hd.seg.segread(tmp_path / "out" / f"{path.name}.seg.dcm")
        for number, value in enumerate((1, 2, 3, 4), start=1):
            volume = found.get_volume(segment_numbers=[number], combine_segments=False)
            where = np.argwhere(volume.array[..., 0])
            places = nib.affines.apply_affine(volume.affine, where) * [-1, -1, 1]  # LPS to RAS
            wanted = nib.affines.apply_affine(AFFINE, np.argwhere(answer(head() / np.float32(100)) == value))
            np.testing.assert_allclose(sorted(map(tuple, places.round(3))), sorted(map(tuple, wanted)), atol=1e-3)
