"""Headers of NIfTI-1 and NIfTI-2 files of untrusted origin: every field that scales or places voxels must be usable."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from lorkit.decompose.errors import DataError

MAX_BYTES = 8 * 1024**3
_MOST_CODE = 5  # of the standard's codes of coordinate systems
_SIZES_OF_NIFTI2 = (np.array(540, "<i4").tobytes(), np.array(540, ">i4").tobytes())
# integers and floats of up to 64 bits, as the standard codes them
_DATATYPES = {2, 4, 8, 16, 64, 256, 512, 768, 1024, 1280}
_NOT_GRAY = {
    32: "complex numbers", 1792: "complex numbers", 2048: "complex numbers", 128: "colours (RGB)",
    2304: "colours (RGBA)", 1536: "128-bit floats", 1: "single bits",
}  # fmt: skip


def parse(path: Path, head: bytes) -> tuple[Any, Any]:
    """Return nibabel's class of images for a file, and its header, checked.

    Args:
        path: The file.
        head: Its first bytes, as many as the larger header has or all that there are.

    Raises:
        DataError: It is too short, is no NIfTI file, or a field is not usable.
    """
    import nibabel

    kind: Any = nibabel.Nifti2Image if head[:4] in _SIZES_OF_NIFTI2 else nibabel.Nifti1Image
    size = kind.header_class.template_dtype.itemsize
    if len(head) < size:
        raise damaged(path, "it is empty" if not head else f"{len(head)} bytes, shorter than the header of {size}")
    header = kind.header_class(head[:size], check=False)
    _check_header(path, header)
    return kind, header


def needed_bytes(path: Path, header: Any) -> int:
    """Return where the voxels end that a header states; raise DataError for more than a volume can have."""
    count = math.prod(max(0, int(side)) for side in header["dim"][1 : 1 + max(0, min(7, int(header["dim"][0])))])
    needed = max(int(header["vox_offset"]), header.single_vox_offset) + count * header.get_data_dtype().itemsize
    if needed > MAX_BYTES:
        raise DataError(
            f"{path} states {needed / 2**30:.3g} GiB", required=f"at most {MAX_BYTES >> 30} GiB", fix="split it"
        )
    return int(needed)


def _check_header(path: Path, header: Any) -> None:
    if header["magic"].item() not in (b"n+1", b"n+2"):
        raise damaged(path, f"magic {header['magic'].item()!r}")
    if int(header["sizeof_hdr"]) != header.template_dtype.itemsize:
        raise bad_field(path, "sizeof_hdr", int(header["sizeof_hdr"]))
    if int(header["datatype"]) in _NOT_GRAY:
        raise DataError(
            f"{path} holds {_NOT_GRAY[int(header['datatype'])]} (NIfTI datatype {int(header['datatype'])})",
            required="one plain number per voxel",
            fix="save one part or channel of it: a magnitude, or gray values",
        )
    if int(header["datatype"]) not in _DATATYPES:
        raise bad_field(path, "datatype", int(header["datatype"]))
    for name in ("qform_code", "sform_code"):
        if not 0 <= int(header[name]) <= _MOST_CODE:
            raise bad_field(path, name, int(header[name]))
    fields = {name: header[name] for name in ("scl_slope", "scl_inter", "vox_offset")}
    fields["pixdim"] = header["pixdim"][: 1 + min(3, int(header["dim"][0]))]
    if int(header["qform_code"]) > 0:
        names = ("quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z")
        fields |= {name: header[name] for name in names}
    if int(header["sform_code"]) > 0:
        fields |= {name: header[name] for name in ("srow_x", "srow_y", "srow_z")}
    for name, value in fields.items():
        if not np.isfinite(value).all():
            raise bad_field(path, name, np.asarray(value).tolist())
    if not int(header["sform_code"]) and not (fields["pixdim"][1:] > 0).all():
        raise bad_field(path, "pixdim", fields["pixdim"].tolist())


def bad_field(path: Path, field: str, value: object) -> DataError:
    """Return the error of a field of a header that cannot be used."""
    return DataError(
        f"{path}: header field {field} is {value}",
        required="a header whose fields are usable",
        fix="write the file again with the right header",
    )


def damaged(path: Path, text: str) -> DataError:
    """Return the error of a file that cannot be read."""
    return DataError(f"{path} cannot be read ({text})", required="an intact NIfTI file", fix="replace it")
