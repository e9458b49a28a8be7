"""What a recipe takes of a stored image: window, range, padding, inversion, in this order."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pytest
from dicom_files import PIXELS, write_dicom

from lorkit.decompose.data.formats.dicom import read
from lorkit.decompose.data.formats.stored import StoredImage, network_values
from lorkit.decompose.data.preprocessing.recipe import to_unit
from lorkit.decompose.documents.recipe import Intensity
from lorkit.decompose.errors import DataError

DTYPE = Intensity(op="intensity", rule="dtype")
WINDOW = Intensity(op="intensity", rule="window", low=-160.0, high=240.0)
PERCENTILE = Intensity(op="intensity", rule="percentile", low=0.0, high=100.0)
HU = np.linspace(-1024, 1000, 16).reshape(4, 4)


def shown(intensity: Intensity, **fields: Any) -> np.ndarray:
    image = StoredImage(format="test", **{"values": HU, **fields})
    return to_unit(intensity, network_values(image, intensity, "a.dcm"))


@pytest.mark.parametrize("intensity", [DTYPE, WINDOW, PERCENTILE])
def test_an_inverted_image_is_the_negative_of_the_same_image(intensity: Intensity) -> None:
    plain = shown(intensity, limits=(-1024.0, 3071.0))
    np.testing.assert_allclose(shown(intensity, limits=(-1024.0, 3071.0), inverted=True), 1 - plain, atol=1e-6)
    assert plain.max() > plain.min()


def test_a_stated_window_wins_over_that_of_the_file_and_that_over_the_stored_range() -> None:
    fields: dict[str, Any] = {"limits": (-1024.0, 3071.0), "lookup": lambda values: np.clip(values / 1000, 0, 1)}
    np.testing.assert_allclose(shown(WINDOW, **fields), np.clip((HU + 160) / 400, 0, 1), atol=1e-6)
    np.testing.assert_allclose(shown(DTYPE, **fields), np.clip(HU / 1000, 0, 1), atol=1e-6)
    del fields["lookup"]
    np.testing.assert_allclose(shown(DTYPE, **fields), (HU + 1024) / 4095, atol=1e-6)


@pytest.mark.parametrize("inverted", [False, True])
def test_padding_is_shown_black(inverted: bool) -> None:
    values = HU.copy()
    values[0] = -3024
    found = shown(PERCENTILE, values=values, padding=(-3024.0, -3024.0), inverted=inverted)
    assert (found[0] == 0).all()
    rest = (values[1:] - values[1:].min()) / (values[1:].max() - values[1:].min())
    np.testing.assert_allclose(found[1:], 1 - rest if inverted else rest, atol=1e-6)


def test_8_bits_stay_8_bits_however_they_are_wrapped(tmp_path: Any) -> None:
    pixels = np.arange(16, dtype=np.uint8).reshape(4, 4)
    path = write_dicom(tmp_path / "a.dcm", pixels, BitsAllocated=8, BitsStored=8, HighBit=7)
    found = network_values(read(path), DTYPE, str(path))
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, pixels)


def test_the_digest_is_of_float32_values(tmp_path: Any) -> None:
    image = read(write_dicom(tmp_path / "a.dcm"))
    assert image.sha256 == hashlib.sha256(PIXELS.astype("<f4").tobytes()).hexdigest()


def test_other_dimensions_are_refused() -> None:
    volume = StoredImage(format="test", values=np.zeros((3, 4, 4)), dims=3)
    with pytest.raises(DataError, match=r"a\.nii is a volume or holds several frames \(3x4x4\); required: one picture"):
        network_values(volume, DTYPE, "a.nii", 2)
    with pytest.raises(DataError, match=r"a\.png is a picture"):
        network_values(StoredImage(format="test", values=HU), DTYPE, "a.png", 3)
