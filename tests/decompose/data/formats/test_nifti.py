"""NIfTI files: values in their own axes, axes for networks, and one line for every broken header."""

from __future__ import annotations

import gzip
import os
import struct
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from lorkit.decompose.data.formats.nifti import accepts, load, network_spacing, oriented, read, spacing, voxel_ml
from lorkit.decompose.errors import DataError

CASES = Path(os.environ.get("LORKIT_DATA", "../shared/data")).parent / "cases"
VALUES = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
OFFSETS = {"datatype": (70, "<h"), "scl_slope": (112, "<f"), "scl_inter": (116, "<f"), "pixdim": (80, "<f"),
           "srow_x": (284, "<f"), "quatern_b": (256, "<f"), "qoffset_x": (268, "<f")}  # fmt: skip


def write(path: Path, affine: np.ndarray | None = None, values: np.ndarray = VALUES, *, qform: bool = False) -> Path:
    image = nib.Nifti1Image(values, np.eye(4) if affine is None else affine)
    if qform:
        image.set_qform(image.affine, 1)
        image.set_sform(None, 0)
    nib.save(image, path)
    return path


def broken(path: Path, field: str, value: float, *, qform: bool = False) -> Path:
    offset, kind = OFFSETS[field]
    data = bytearray(write(path.with_suffix(".ok.nii"), qform=qform).read_bytes())
    data[offset : offset + struct.calcsize(kind)] = struct.pack(kind, value)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("axes", ["RAS", "LPS", "SLA", "PIR"])
def test_values_keep_the_axes_of_the_file_and_networks_get_right_anterior_superior(tmp_path: Path, axes: str) -> None:
    wanted = nib.orientations.axcodes2ornt(axes)
    turn = nib.orientations.ornt_transform(nib.orientations.axcodes2ornt("RAS"), wanted)
    image = nib.Nifti1Image(VALUES, np.diag([1.0, 2.0, 3.0, 1.0])).as_reoriented(turn)
    nib.save(image, tmp_path / "a.nii.gz")
    found = read(tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(found.values, np.asarray(image.dataobj))
    np.testing.assert_array_equal(found.orient(found.values), VALUES)
    assert (found.axes, found.dims) == (axes, 3)
    assert sorted(found.spacing_mm or ()) == [1.0, 2.0, 3.0]


def test_a_slice_is_shown_as_a_radiologist_sees_it(tmp_path: Path) -> None:
    # stored with the first axis to the left and the second to the back: what a display has as columns and rows
    values = np.arange(12, dtype=np.float32).reshape(4, 3, 1)
    found = read(write(tmp_path / "a.nii.gz", np.diag([-1.0, -1.0, 1.0, 1.0]), values))
    assert found.dims == 2
    np.testing.assert_array_equal(found.orient(found.values), values[..., 0].T)


def test_without_orientation_the_axes_are_taken_as_stored_and_that_is_said(tmp_path: Path) -> None:
    nib.save(nib.Nifti1Image(VALUES[0].astype(np.uint8), None), tmp_path / "a.nii")
    found = read(tmp_path / "a.nii")
    np.testing.assert_array_equal(found.orient(found.values), VALUES[0])
    assert found.axes is None
    assert any("no orientation" in note for note in found.warnings)
    assert not oriented(load(tmp_path / "a.nii"))


def test_the_scale_of_the_file_is_applied_and_a_slope_of_0_means_none(tmp_path: Path) -> None:
    path = broken(tmp_path / "a.nii", "scl_slope", 2.0)
    np.testing.assert_array_equal(read(path).values, VALUES * 2.0)
    assert read(path).notes == ("scaled by 2, plus 0",)
    np.testing.assert_array_equal(read(broken(tmp_path / "b.nii", "scl_slope", 0.0)).values, VALUES)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("field", ["scl_slope", "scl_inter", "pixdim", "srow_x", "quatern_b", "qoffset_x"])
def test_a_field_that_scales_or_places_voxels_is_finite(tmp_path: Path, field: str, value: float) -> None:
    path = broken(tmp_path / "a.nii", field, value, qform=field.startswith("q"))
    with pytest.raises(DataError, match=rf"a\.nii: header field {field} is"):
        read(path)


@pytest.mark.parametrize(("field", "value"), [("datatype", 0), ("datatype", 999)])
def test_a_type_that_is_no_number_is_refused(tmp_path: Path, field: str, value: int) -> None:
    with pytest.raises(DataError, match=rf"header field {field} is {value}"):
        read(broken(tmp_path / "a.nii", field, value))


def test_a_singular_affine_is_refused(tmp_path: Path) -> None:
    data = bytearray(write(tmp_path / "ok.nii").read_bytes())
    data[280:328] = bytes(48)
    (tmp_path / "a.nii").write_bytes(data)
    with pytest.raises(DataError, match="header field sform is a singular affine"):
        read(tmp_path / "a.nii")


@pytest.mark.parametrize("voxels", [True, False])
@pytest.mark.parametrize("keep", [0, 3, 100, 347])
def test_a_cut_file_is_refused(tmp_path: Path, keep: int, voxels: bool) -> None:
    (tmp_path / "a.nii").write_bytes(write(tmp_path / "ok.nii").read_bytes()[:keep])
    with pytest.raises(DataError, match=r"a\.nii cannot be read"):
        load(tmp_path / "a.nii", voxels=voxels)


def test_the_checksum_of_a_compressed_file_is_tested(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 1000, (20, 20, 20), dtype=np.int16)
    packed = bytearray(write(tmp_path / "ok.nii.gz", values=values).read_bytes())
    np.testing.assert_array_equal(read(tmp_path / "ok.nii.gz").values, values)
    for name, data in {"crc": [*packed[:-8], 1, 2, 3, 4, *packed[-4:]], "cut": packed[:-10]}.items():
        (tmp_path / f"{name}.nii.gz").write_bytes(bytes(data))
        with pytest.raises(DataError, match=rf"{name}\.nii\.gz cannot be read"):
            read(tmp_path / f"{name}.nii.gz")
    stored = bytearray(gzip.compress((tmp_path / "ok.nii.gz").read_bytes() and gzip.decompress(bytes(packed)), 0))
    stored[5000] ^= 255  # one voxel of a stream without compression: only its checksum can tell
    (tmp_path / "bit.nii.gz").write_bytes(stored)
    with pytest.raises(DataError, match=r"bit\.nii\.gz cannot be read"):
        read(tmp_path / "bit.nii.gz")


def test_volume_and_spacing_come_from_the_affine(tmp_path: Path) -> None:
    image = nib.Nifti1Image(VALUES, np.diag([1.0, 1.0, 0.8, 1.0]))
    image.header["pixdim"][1:4] = 1.0, 1.0, 0.6
    data = bytearray(image.to_bytes())
    data[80:92] = struct.pack("<3f", 1.0, 1.0, 0.6)
    (tmp_path / "a.nii").write_bytes(data)
    found = load(tmp_path / "a.nii")
    assert spacing(found) == (1.0, 1.0, 0.8)
    assert voxel_ml(found) == pytest.approx(0.0008)
    assert any("the affine is used" in note for note in read(tmp_path / "a.nii").warnings)


@pytest.mark.parametrize(("unit", "factor"), [("mm", 1.0), ("unknown", 1.0), ("micron", 1e-9), ("meter", 1e9)])
def test_a_voxel_has_the_volume_that_its_header_states(tmp_path: Path, unit: str, factor: float) -> None:
    image = nib.Nifti1Image(np.zeros((2, 2, 2), np.uint8), np.diag([1.0, 2.0, 3.0, 1.0]))
    image.header.set_xyzt_units(unit)
    nib.save(image, tmp_path / "a.nii")
    assert voxel_ml(load(tmp_path / "a.nii")) == pytest.approx(0.006 * factor)


def test_several_volumes_and_missing_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"one volume of three axes.*nibabel\.four_to_three"):
        read(write(tmp_path / "a.nii", values=np.zeros((3, 3, 3, 2), np.uint8)))
    with pytest.raises(DataError, match="no file at"):
        read(tmp_path / "none.nii")


def test_files_are_known_by_name() -> None:
    names = ("a.nii", "a.NII.GZ", "a.gz", "nii")
    assert [accepts(Path(name)) for name in names] == [True, True, False, False]


@pytest.mark.skipif(not CASES.is_dir(), reason="the cases are not here")
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nifti-header/inter_nan", "scl_inter is nan"),
        ("nifti-header/sform_zero", "sform is a singular affine"),
        ("nifti-header/code0", "datatype is 0"),
        ("gz-damaged/silent", "CRC"),
    ],
)
def test_the_broken_files_of_users_are_refused(name: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(CASES / f"{name}.nii.gz")


PLACES = {"sizeof_hdr": (0, "<i"), "vox_offset": (108, "<f"), "pixdim": (80, "<f"), "qform_code": (252, "<h"),
          "sform_code": (254, "<h"), "dim": (42, "<h")}  # fmt: skip


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("sizeof_hdr", 349, "header field sizeof_hdr is 349"),
        ("vox_offset", np.nan, "header field vox_offset is nan"),
        ("qform_code", -1, "header field qform_code is -1"),
        ("sform_code", 77, "header field sform_code is 77"),
        ("dim", 32000, "bytes, .* stated"),
    ],
)
def test_a_header_that_nibabel_repairs_in_silence_is_refused_in_one_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], field: str, value: float, message: str
) -> None:
    data = bytearray(write(tmp_path / "ok.nii").read_bytes())
    offset, kind = PLACES[field]
    data[offset : offset + struct.calcsize(kind)] = struct.pack(kind, value)
    (tmp_path / "a.nii").write_bytes(data)
    with pytest.raises(DataError, match=message):
        read(tmp_path / "a.nii")
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("side", [0.0, -1.0])
def test_pixdim_must_be_positive_where_it_scales(tmp_path: Path, side: float) -> None:
    for name, codes in (("qform", (1, 0)), ("sform", (0, 2))):
        data = bytearray(write(tmp_path / "ok.nii").read_bytes())
        data[80:84], data[252:256] = struct.pack("<f", side), struct.pack("<hh", *codes)
        (tmp_path / f"{name}.nii").write_bytes(data)
    with pytest.raises(DataError, match="header field pixdim"):
        read(tmp_path / "qform.nii")
    assert read(tmp_path / "sform.nii").values.shape


@pytest.mark.parametrize("axes", ["RAS", "LPS", "SLA", "ASR", "IPL"])
def test_spacing_follows_the_axes_that_a_network_takes(tmp_path: Path, axes: str) -> None:
    """However a volume is stored, its spacing towards right, anterior and superior is the same."""
    turns = nib.orientations
    straight = nib.Nifti1Image(np.zeros((4, 5, 6), np.uint8), np.diag([1.0, 2.0, 3.0, 1.0]))
    turn = turns.ornt_transform(turns.io_orientation(straight.affine), turns.axcodes2ornt(axes))
    nib.save(straight.as_reoriented(turn), tmp_path / "a.nii")
    assert network_spacing(load(tmp_path / "a.nii", voxels=False)) == (1.0, 2.0, 3.0)


def test_spacing_of_slices_and_of_volumes_without_orientation(tmp_path: Path) -> None:
    affine = np.diag([1.0, 2.0, 3.0, 1.0])
    for name, shape in (("slice", (4, 5, 1)), ("flat", (4, 5))):
        nib.save(nib.Nifti1Image(np.zeros(shape, np.uint8), affine), tmp_path / f"{name}.nii")
        assert network_spacing(load(tmp_path / f"{name}.nii", voxels=False)) == (2.0, 1.0), "rows are anterior"
    plain = nib.Nifti1Image(np.zeros((4, 5, 6), np.uint8), None)
    plain.header["pixdim"][1:4] = (0.5, 2.0, 3.0)
    plain.header["xyzt_units"] = 3  # micrometres
    nib.save(plain, tmp_path / "plain.nii")
    assert network_spacing(load(tmp_path / "plain.nii", voxels=False)) == (0.0005, 0.002, 0.003)


@pytest.mark.parametrize(("mirrored", "said"), [(True, True), (False, False)])
def test_a_qform_that_mirrors_the_patient_against_the_sform_is_said(tmp_path: Path, mirrored: bool, said: bool) -> None:
    """Other programs may take the qform, and show the mask on the other side."""
    image = nib.Nifti1Image(VALUES, np.eye(4))
    image.set_sform(np.eye(4), 2)
    image.set_qform(np.diag([-1.0 if mirrored else 1.0, 1, 1, 1]), 1)
    nib.save(image, tmp_path / "a.nii")
    found = read(tmp_path / "a.nii")
    assert found.axes == "RAS"
    assert any("qform states axes LAS, its sform RAS" in text for text in found.warnings) == said
