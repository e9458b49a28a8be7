"""The modality transform, windows, tables, ranges and padding of DICOM, against the formulas of the standard."""

from __future__ import annotations

from typing import Any

import numpy as np
import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.pixels import apply_voi_lut

from lorkit.decompose.data.formats.dicom_values import Rescale, functional_group, rescales, transform
from lorkit.decompose.data.formats.stored import StoredImage, network_values
from lorkit.decompose.documents.recipe import Intensity
from lorkit.decompose.errors import DataError

STORED = np.arange(-8, 8, dtype=np.int16).reshape(4, 4) * 100


def dataset(**tags: Any) -> Dataset:
    found = Dataset()
    found.PhotometricInterpretation, found.SamplesPerPixel = "MONOCHROME2", 1
    found.BitsAllocated, found.BitsStored, found.PixelRepresentation = 16, 12, 1
    for name, value in tags.items():
        setattr(found, name, value)
    return found


def groups(**by_name: list[dict[str, Any]]) -> Any:
    item = Dataset()
    for name, entries in by_name.items():
        setattr(item, name, pydicom.Sequence([dataset_of(entry) for entry in entries]))
    return item


def dataset_of(tags: dict[str, Any]) -> Dataset:
    found = Dataset()
    for name, value in tags.items():
        setattr(found, name, value)
    return found


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ({}, (1, 0)),
        ({"RescaleSlope": "2", "RescaleIntercept": "-1024"}, (2, -1024)),
        ({"RescaleSlope": "", "RescaleIntercept": ""}, (1, 0)),
        ({"RescaleIntercept": "-7"}, (1, -7)),
    ],
)
def test_the_rescale_of_a_plain_file(tags: dict[str, str], expected: tuple[float, float]) -> None:
    assert rescales(dataset(**tags), 1) == [expected]
    found = transform(dataset(**tags), STORED, colour=False)
    np.testing.assert_array_equal(found.values, STORED * expected[0] + expected[1])
    assert found.limits == (-2048 * expected[0] + expected[1], 2047 * expected[0] + expected[1])


def test_frames_have_their_own_rescale_before_the_shared_one_before_that_of_the_file() -> None:
    name = "PixelValueTransformationSequence"
    shared = [groups(**{name: [{"RescaleSlope": "1", "RescaleIntercept": "-10"}]})]
    own = [groups(**{name: [{"RescaleSlope": "3", "RescaleIntercept": "1"}]}), Dataset()]
    found = dataset(
        NumberOfFrames="2",
        RescaleSlope="9",
        SharedFunctionalGroupsSequence=pydicom.Sequence(shared),
        PerFrameFunctionalGroupsSequence=pydicom.Sequence(own),
    )
    assert rescales(found, 2) == [Rescale(3, 1), Rescale(1, -10)]
    frames = np.stack([STORED, STORED])
    values = transform(found, frames, colour=False).values
    np.testing.assert_array_equal(values, np.stack([STORED * 3 + 1, STORED - 10]))
    assert functional_group(found, name, 5) == shared[0][name][0]


@pytest.mark.parametrize("tags", [{"RescaleSlope": "0"}, {"RescaleSlope": "nan"}, {"RescaleIntercept": "inf"}])
def test_a_scale_that_is_no_scale_is_refused(tags: dict[str, str]) -> None:
    found = dataset()
    for name, value in tags.items():
        found.add_new(name, "UN", b"")
        found[name] = pydicom.DataElement(name, "LO", value)
    with pytest.raises(ValueError, match="RescaleSlope"):
        rescales(found, 1)


@given(
    centre=st.floats(-1000, 1000),
    width=st.floats(1.5, 4000),
    function=st.sampled_from(["LINEAR", "LINEAR_EXACT", "SIGMOID"]),
)
def test_a_window_follows_the_standard(centre: float, width: float, function: str) -> None:
    tags = {"WindowCenter": f"{centre:.4f}", "WindowWidth": f"{width:.4f}", "VOILUTFunction": function}
    found = transform(dataset(**tags), STORED, colour=False)
    assert found.lookup is not None
    with np.errstate(over="ignore"):
        reference = apply_voi_lut(STORED, dataset(**tags))  # to the range of the stored bits
    np.testing.assert_allclose(found.lookup(found.values), (reference + 2048) / 4095, atol=1e-6)


def test_the_first_of_several_windows_is_used() -> None:
    found = transform(dataset(WindowCenter=["40", "300"], WindowWidth=["400", "1500"]), STORED, colour=False)
    assert found.lookup is not None
    np.testing.assert_array_equal(found.lookup(np.array([-160.0, 239.0])), [0.0, 1.0])
    assert found.notes == ("window of the file: centre 40, width 400",)


def test_tables_are_applied() -> None:
    table = dataset_of({"LUTDescriptor": [16, 0, 8], "LUTData": list(range(0, 160, 10))})
    pixels = np.arange(16, dtype=np.uint16).reshape(4, 4)
    modality = transform(dataset(ModalityLUTSequence=pydicom.Sequence([table])), pixels, colour=False)
    np.testing.assert_array_equal(modality.values, pixels * 10)
    assert modality.limits == (0.0, 255.0)
    voi = transform(dataset(VOILUTSequence=pydicom.Sequence([table]), PixelRepresentation=0), pixels, colour=False)
    assert voi.lookup is not None
    np.testing.assert_allclose(voi.lookup(voi.values), pixels * 10 / 255)


@pytest.mark.parametrize(("last", "expected"), [(None, (-1224.0, -1224.0)), (-190, (-1224.0, -1214.0))])
def test_padding_is_in_rescaled_units(last: int | None, expected: tuple[float, float]) -> None:
    tags: dict[str, Any] = {"RescaleIntercept": "-1024", "PixelPaddingValue": -200}
    if last is not None:
        tags["PixelPaddingRangeLimit"] = last
    found = transform(dataset(**tags), STORED, colour=False)
    assert found.padding == expected
    assert any("padding value -1224" in note for note in found.notes)


def test_padding_that_is_stored_without_its_sign() -> None:
    found = transform(dataset(PixelPaddingValue=65536 - 200, RescaleIntercept="-1024"), STORED, colour=False)
    assert found.padding == (-1224.0, -1224.0)


@pytest.mark.parametrize(
    "tags",
    [
        {"WindowCenter": "100", "WindowWidth": "0"},
        {"WindowCenter": "100", "WindowWidth": "0.5"},
        {"WindowCenter": "100", "WindowWidth": "-5", "VOILUTFunction": "SIGMOID"},
        {"WindowCenter": "100", "WindowWidth": "200", "VOILUTFunction": "OTHER"},
        {"VOILUTSequence": pydicom.Sequence([dataset_of({"LUTDescriptor": [16, 0, 12]})])},
        {"VOILUTSequence": pydicom.Sequence([dataset_of({"LUTDescriptor": [16, 0, 12], "LUTData": [1, 2]})])},
    ],
)
def test_a_window_that_is_no_window_fails_only_where_it_is_used(tags: dict[str, Any]) -> None:
    found = transform(dataset(**tags), STORED, colour=False)
    np.testing.assert_array_equal(found.values, STORED)
    assert "not usable" in found.notes[-1]
    image = StoredImage(format="DICOM", values=found.values, limits=found.limits, lookup=found.lookup)
    window = Intensity(op="intensity", rule="window", low=-100.0, high=100.0)
    np.testing.assert_array_equal(network_values(image, window, "a.dcm"), STORED)
    with pytest.raises(DataError, match=r"a\.dcm: window of the file is not usable"):
        network_values(image, Intensity(op="intensity", rule="dtype"), "a.dcm")


@pytest.mark.parametrize("first", [-800, 65536 - 800])
@pytest.mark.parametrize("bits", [12, 16])
def test_a_table_that_starts_below_zero(first: int, bits: int) -> None:
    entries = (np.arange(1600) * (2**bits - 1) // 1599).tolist()
    table = dataset_of({"LUTDescriptor": [1600, first, bits], "LUTData": entries})
    expected = np.array(entries)[STORED + 800]
    modality = transform(dataset(ModalityLUTSequence=pydicom.Sequence([table])), STORED, colour=False)
    np.testing.assert_array_equal(modality.values, expected)
    voi = transform(dataset(VOILUTSequence=pydicom.Sequence([table])), STORED, colour=False)
    assert voi.lookup is not None
    np.testing.assert_allclose(voi.lookup(voi.values), expected / (2**bits - 1))


def test_frames_with_their_own_windows_are_said() -> None:
    own = [groups(FrameVOILUTSequence=[{"WindowCenter": str(centre), "WindowWidth": "9"}]) for centre in (1, 2)]
    found = dataset(NumberOfFrames="2", PerFrameFunctionalGroupsSequence=pydicom.Sequence(own))
    transformed = transform(found, np.stack([STORED, STORED]), colour=False)
    assert transformed.notes[-1] == "window of the file: centre 1, width 9"
    assert transformed.warnings == ("frames state different windows: that of the first is used",)
