"""Files that were made to break their reader: huge declared shapes, odd values, encryption, loops, odd tensors.

Each is a function that writes one into an empty folder and returns its path, by the kind of file that it pretends to be
(`file_kinds`). Shared by tests and `benchmarks/torture.py`.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from dicom_files import PIXELS, write_dicom
from PIL import Image

Write = Callable[[Path], Path]
_DIGITS = "9" * 10_000
_GIB = 1 << 30


def hostile_files() -> list[tuple[str, str, Write]]:
    """Return the kind, the name and the writer of each file."""
    makers = (_nifti, _arrays, _graph_arrays, _pictures, _dicom, _texts, _tensors, _links)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch and numpy about what is odd here
        return [entry for make in makers for entry in make()]


def _header(**fields: Any) -> bytes:
    header = nib.Nifti1Header()
    header.set_data_shape((4, 4, 4))
    header.set_data_dtype(np.int16)
    header["magic"], header["vox_offset"], header["sform_code"] = b"n+1", 352, 1
    header["srow_x"], header["srow_y"], header["srow_z"] = (1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0)
    for name, value in fields.items():
        header[name] = value
    return header.binaryblock + bytes(4)


def _put(name: str, data: Callable[[], bytes] | bytes) -> Write:
    def write(folder: Path) -> Path:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data() if callable(data) else data)
        return path

    return write


def _nifti() -> Iterator[tuple[str, str, Write]]:
    nan, inf = float("nan"), float("inf")
    fields: dict[str, dict[str, Any]] = {
        "nan-sform": {"srow_x": (nan, 0, 0, 0)}, "inf-sform": {"srow_z": (0, 0, inf, 0)},
        "zero-sform": {"srow_y": (0, 0, 0, 0)}, "tiny-sform": {"srow_y": (0, 1e-38, 0, 0)},
        "huge-sform": {"srow_y": (0, 3e38, 0, 0), "srow_x": (3e38, 0, 0, 0), "srow_z": (0, 0, 3e38, 3e38)},
        "nan-qform": {"sform_code": 0, "qform_code": 1, "quatern_b": nan},
        "long-quaternion": {"sform_code": 0, "qform_code": 1, "quatern_b": 5.0},
        "negative-pixdim": {"sform_code": 0, "pixdim": (1, -1, 1, 1, 1, 1, 1, 1)},
        "no-axes": {"dim": (0, 1, 1, 1, 1, 1, 1, 1)}, "eight-axes": {"dim": (8, 1, 1, 1, 1, 1, 1, 1)},
        "negative-axis": {"dim": (3, -4, 4, 4, 1, 1, 1, 1)}, "huge": {"dim": (3, 32767, 32767, 32767, 1, 1, 1, 1)},
        "huge-seven": {"dim": (7, *[32767] * 7)}, "four": {"dim": (4, 4, 4, 4, 7, 1, 1, 1)},
        "negative-offset": {"vox_offset": -4.0}, "offset-inside": {"vox_offset": 3.0},
        "huge-offset": {"vox_offset": 3e38}, "nan-slope": {"scl_slope": nan}, "huge-slope": {"scl_slope": 3e38},
        "odd-type": {"datatype": 4096}, "bits": {"datatype": 1, "bitpix": 1}, "odd-bitpix": {"bitpix": 7},
        "odd-units": {"xyzt_units": 255}, "complex": {"datatype": 32, "bitpix": 64},
    }  # fmt: skip
    for name, values in fields.items():
        yield "nifti", name, _put("a.nii", _header(**values) + bytes(128))
        yield "nifti-gz", name, _put("a.nii.gz", lambda values=values: gzip.compress(_header(**values) + bytes(128)))
    extension = _header(vox_offset=352 + 16)[:348] + b"\x01\0\0\0" + struct.pack("<ii", -16, 6) + bytes(8 + 128)
    yield "nifti", "negative-extension", _put("a.nii", extension)
    yield "nifti-gz", "not-gzip", _put("a.nii.gz", _header() + bytes(128))
    yield "nifti-gz", "bad-checksum", _put("a.nii.gz", lambda: gzip.compress(_header() + bytes(128))[:-8] + bytes(8))
    yield "nifti-gz", "bomb", _put("a.nii.gz", lambda: _squeezed(_header(), 3 * _GIB, gzip=True))
    yield "nifti-gz", "bomb-declared", _put("a.nii.gz", lambda: _squeezed(_header(
        dim=(3, 32000, 32000, 32, 1, 1, 1, 1)), _GIB, gzip=True))  # fmt: skip


def _squeezed(head: bytes, zeros: int, *, gzip: bool = False) -> bytes:
    """Return bytes and many zeros, compressed piece by piece."""
    packer = zlib.compressobj(1, zlib.DEFLATED, 31 if gzip else -15)
    piece, parts = bytes(1 << 24), [packer.compress(head)]
    parts += [packer.compress(piece) for _ in range(zeros >> 24)]
    return b"".join([*parts, packer.flush()])


def _npy(descr: str, shape: str, data: bytes = bytes(64)) -> bytes:
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + data


def _zip(members: dict[str, bytes], *, encrypted: bool = False, method: int | None = None) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    data = bytearray(stream.getvalue())
    for mark, flags, kind in ((b"PK\x03\x04", 6, 8), (b"PK\x01\x02", 8, 10)):
        at = data.find(mark)
        while at >= 0:
            data[at + flags] |= encrypted
            if method is not None:
                data[at + kind] = method
            at = data.find(mark, at + 4)
    return bytes(data)


def _bomb(name: str, shape: str, zeros: int) -> bytes:
    """Return a zip of one array of zeros, as zipfile writes it piece by piece."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", 8) as archive, archive.open(name, "w", force_zip64=True) as member:
        member.write(_npy("'|u1'", shape, b""))
        for _ in range(zeros >> 24):
            member.write(bytes(1 << 24))
    return stream.getvalue()


def _arrays() -> Iterator[tuple[str, str, Write]]:
    images = np.arange(6 * 9 * 8, dtype=np.uint8).reshape(6, 9, 8)
    whole: dict[str, Any] = {"images": images, "labels": np.arange(6) % 2, "ids": np.arange(6)}
    more = {"label_names": np.array(["a", "b"]), "split": np.array(["train"] * 6), "groups": np.arange(6),
            "masks": images % 3, "mask_names": np.array(["x", "y"])}  # fmt: skip
    for name, data in {
        "encrypted": _zip({"images.npy": _npy("'|u1'", "(4, 4, 4)"), "labels.npy": _npy("'<i8'", "(4,)")},
                          encrypted=True),
        "odd-compression": _zip({"images.npy": _npy("'|u1'", "(4, 4, 4)")}, method=99),
        "huge": _zip({"images.npy": _npy("'<f8'", "(1000000, 1000000, 4)"), "labels.npy": _npy("'<i8'", "(4,)")}),
        "large": _zip({"images.npy": _npy("'|u1'", f"({60 * _GIB},)"), "labels.npy": _npy("'<i8'", "(4,)")}),
        "negative": _zip({"images.npy": _npy("'|u1'", "(-4, 4)"), "labels.npy": _npy("'<i8'", "(4,)")}),
        "digits": _zip({"images.npy": _npy("'|u1'", f"({_DIGITS},)")}),
        "code": _zip({"images.npy": _npy("__import__('os')", "(4,)")}),
        "deep": _zip({"images.npy": _npy("[" * 300 + "]" * 300, "(4,)")}),
        "pickled": _zip({"images.npy": _npy("'|O'", "(4,)")}),
        "no-arrays": _zip({}), "no-npy": _zip({"images": b"text", "labels": b"text"}),
        "twice": _zip({"images.npy": _npy("'|u1'", "(4, 4, 4)"), "images": b"x", "labels.npy": b""}),
        "odd-version": _zip({"images.npy": b"\x93NUMPY\x09\x00" + bytes(100), "labels.npy": b"\x93NUMPY"}),
    }.items():  # fmt: skip
        yield "npz", name, _put("data.npz", data)
    yield "npz", "bomb", _put("data.npz", lambda: _bomb("images.npy", f"({30 * _GIB},)", 2 * _GIB))
    for key in (*whole, *more):
        for name, value in _odd_arrays().items():
            yield "npz", f"{key}-{name}", _saved({**whole, **({key: more[key]} if key in more else {}), key: value})
    for key, other in (("images", images.astype(float) * np.nan), ("labels", np.array([0.5, 1, 0, 1, 0, np.nan])),
                       ("labels", np.array([[1, 0, -1]] * 5 + [[7, 0, 0]])), ("labels", np.full(6, 10**18)),
                       ("masks", images.astype(float) * np.inf), ("masks", images.astype(np.int64) * 10**16),
                       ("masks", images.astype(np.float32)), ("images", images.astype(np.float64) * 1e300),
                       ("images", images[:, :0]), ("images", images[:0]), ("images", images[:, :, :,
                       None])):  # fmt: skip
        yield "npz", f"{key}-{other.dtype}-{other.shape}", _saved({**whole, key: other})


def _odd_arrays() -> dict[str, Any]:
    return {
        "scalar": np.array(3), "empty": np.zeros(0), "short": np.zeros(5), "complex": np.zeros(6, complex),
        "times": np.zeros(6, "datetime64[s]"), "bytes": np.array([b"\xff\xfe"] * 6), "void": np.zeros(6, "V8"),
        "records": np.zeros(6, [("a", "<i4"), ("b", "<f8")]), "nan": np.full(6, np.nan),
        "long": np.array(["x" * 9000] * 6),
        "signs": np.array(["a\n\x1b[31m", "\ud800".encode("utf-16", "surrogatepass").decode("latin1"), "", " ", "..",
        "/"]),
        "half": np.zeros(6, np.float16), "negative": np.full(6, -(2**62)), "plane": np.zeros((6, 3)),
        "big": np.full(6, 2**64 - 1, np.uint64), "other-end": np.arange(6, dtype=">i4"), "false": np.zeros(6, bool),
    }  # fmt: skip


def _saved(arrays: dict[str, Any], name: str = "data.npz") -> Write:
    def write(folder: Path) -> Path:
        np.savez(folder / name, **arrays)
        return folder / name

    return write


def _graph_arrays() -> Iterator[tuple[str, str, Write]]:
    import scipy.io
    import scipy.sparse

    edges = np.array([[0, 1, 2, 3], [1, 2, 3, 0]])
    whole: dict[str, Any] = {"features": np.zeros((6, 2), np.float32), "labels": np.arange(6) % 2, "edge_a": edges}
    more = {"edges": edges.T, "ids": np.arange(6), "label_names": np.array(["a", "b"]),
            "feature_names": np.array(["f", "g"]), "train_mask": np.ones(6, bool),
            "relation_names": np.array(["a"])}  # fmt: skip
    for key in (*whole, *more):
        for name, value in _odd_arrays().items():
            arrays = {**whole, **({key: more[key]} if key in more else {}), key: value}
            yield "graph-npz", f"{key}-{name}", _saved(arrays, "graph.npz")
    for name, value in {"far": edges + 10**12, "negative": -edges, "float": edges * 0.5, "nan": edges * np.nan,
                        "big": edges.astype(np.uint64) + np.uint64(2**63)}.items():  # fmt: skip
        yield "graph-npz", f"edges-{name}", _saved({**whole, "edge_a": value}, "graph.npz")

    def mat(**changed: Any) -> Write:
        def write(folder: Path) -> Path:
            net = scipy.sparse.csc_matrix(np.eye(6))
            found = {"features": np.zeros((6, 2)), "label": np.arange(6)[None] % 2, "net_a": net, **changed}
            scipy.io.savemat(folder / "graph.mat", found)
            return folder / "graph.mat"

        return write

    cell = np.empty((1, 6), object)
    cell[0] = ["a", 1, None, [], "b", 2.0]
    cell[0, 2] = np.zeros(2)
    for name, value in {"cell": cell, "struct": {"a": 1}, "text": "abcdef", "empty": np.zeros((0, 0)),
                        "complex": np.eye(6) * 1j, "sparse-complex": scipy.sparse.csc_matrix(np.eye(6) * 1j),
                        "nan": np.full((6, 6), np.nan), "wide": scipy.sparse.csc_matrix((6, 2**28)),
                        "bool": scipy.sparse.csc_matrix(np.eye(6, dtype=bool))}.items():  # fmt: skip
        for key in ("features", "label", "net_a"):
            yield "graph-mat", f"{key}-{name}", mat(**{key: value})
    yield "graph-mat", "version-7.3", _put("graph.mat", b"MATLAB 7.3 MAT-file" + bytes(600))
    head = b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack("<HH", 0x0100, 0x4D49)
    element = struct.pack("<IIIIIIIIIIII", 6, 8, 6, 0, 5, 8, 60_000, 60_000, 1, 8, 0x65666165, 0x73657275)
    element += struct.pack("<II", 9, 4_294_967_288)
    yield "graph-mat", "huge", _put("graph.mat", head + struct.pack("<II", 14, 4_294_967_295) + element)


def _pictures() -> Iterator[tuple[str, str, Write]]:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    def png(width: int, height: int, *more: bytes, bits: int = 8, colour: int = 0) -> bytes:
        head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))
        data = chunk(b"IDAT", zlib.compress(bytes(65)))
        return b"\x89PNG\r\n\x1a\n" + head + b"".join(more) + data + chunk(b"IEND", b"")

    text = chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(1 << 27)))
    for name, data in {
        "huge": png(2**31 - 1, 2**31 - 1), "large": png(60_000, 60_000), "wide": png(2**31 - 1, 1), "none": png(0, 0),
        "text-bomb": png(8, 7, *[text] * 4), "odd-bits": png(8, 7, bits=3), "palette": png(8, 7, colour=3),
        "odd-exif": png(8, 7, chunk(b"eXIf", b"MM\0*\0\0\0\x08\xff\xff" + bytes(40))),
    }.items():  # fmt: skip
        yield "png", name, _put("a.png", data)

    def saved(name: str, image: Callable[[], Image.Image], **options: Any) -> Write:
        def write(folder: Path) -> Path:
            image().save(folder / name, **options)
            return folder / name

        return write

    gray = np.arange(80, dtype=np.uint8).reshape(8, 10)
    for mode in ("1", "CMYK", "LAB", "YCbCr", "RGBA", "LA", "P", "F", "I", "I;16B", "RGBX"):

        def image(mode: str = mode) -> Image.Image:
            if mode == "I;16B":
                return Image.frombytes(mode, (8, 5), bytes(80))
            return Image.fromarray(gray).convert("RGB" if mode == "LAB" else "L").convert(mode)

        try:
            stream = io.BytesIO()
            image().save(stream, "TIFF")
        except (OSError, ValueError):
            continue
        yield "tiff", f"mode-{mode}", saved("a.tif", image)
    pages = [Image.fromarray(gray)] * 3
    yield "tiff", "pages", saved("a.tif", lambda: pages[0], save_all=True, append_images=pages)
    yield "tiff", "not-finite", saved("a.tif", lambda: Image.fromarray(gray.astype(np.float32) * np.inf))
    yield "jpeg", "cmyk", saved("a.jpg", lambda: Image.fromarray(gray).convert("CMYK"))
    yield "png", "gif", saved("a.png", lambda: Image.fromarray(gray), format="GIF")

    def tiff(entries: list[tuple[int, int, int, int]], following: int = 0) -> bytes:
        rows = b"".join(struct.pack("<HHII", *entry) for entry in entries)
        return b"II*\0" + struct.pack("<IH", 8, len(entries)) + rows + struct.pack("<I", following) + bytes(200)

    plain = [(256, 4, 1, 8), (257, 4, 1, 8), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (273, 4, 1, 130),
             (278, 4, 1, 8), (279, 4, 1, 64)]  # fmt: skip
    odd: dict[str, dict[int, tuple[int, int, int]]] = {
        "huge": {256: (4, 1, 2**31), 257: (4, 1, 2**31)}, "large": {256: (4, 1, 60_000), 257: (4, 1, 60_000)},
        "no-width": {256: (4, 0, 0)}, "text-width": {256: (2, 4, 0x41424344)}, "many-bits": {258: (3, 2**28, 130)},
        "odd-photometric": {262: (3, 1, 999)}, "far-strip": {273: (4, 1, 2**32 - 1)}, "white": {262: (3, 1, 0)},
        "rational-width": {256: (5, 1, 2**32 - 1)}, "odd-type": {256: (77, 1, 8)}, "compression": {259: (3, 1, 34712)},
        "nine-bits": {258: (3, 1, 9)}, "orientation": {274: (3, 1, 77)}, "float-orientation": {274: (11, 1, 2**31)},
        "text-orientation": {274: (2, 4, 0x41424344)}, "white-16": {262: (3, 1, 0), 258: (3, 1, 16)},
        "white-12": {262: (3, 1, 0), 258: (2, 4, 0x41424344)},
    }  # fmt: skip
    for name, changes in odd.items():
        kept = [entry for entry in plain if entry[0] not in changes]
        entries = sorted([*kept, *((tag, *value) for tag, value in changes.items())])
        yield "tiff", name, _put("a.tif", tiff(entries))
    yield "tiff", "loop", _put("a.tif", tiff(plain, following=8))


def _dicom() -> Iterator[tuple[str, str, Write]]:
    def dicom(**tags: Any) -> Write:
        import pydicom

        def write(folder: Path) -> Path:
            mode, pydicom.config.settings.writing_validation_mode = (
                pydicom.config.settings.writing_validation_mode, pydicom.config.IGNORE)  # fmt: skip
            try:
                path = write_dicom(folder / "a.dcm", PIXELS)
                dataset = pydicom.dcmread(path)
                for name, value in tags.items():
                    setattr(dataset, name, value)
                dataset.save_as(path)
                return path
            finally:
                pydicom.config.settings.writing_validation_mode = mode

        return write

    for name, tags in {
        "huge": {"Rows": 65535, "Columns": 65535}, "frames": {"NumberOfFrames": str(2**31 - 1)},
        "negative-frames": {"NumberOfFrames": "-1"}, "no-rows": {"Rows": 0}, "bits-1": {"BitsAllocated": 1},
        "bits-64": {"BitsAllocated": 64, "BitsStored": 64, "HighBit": 63}, "bits-7": {"BitsAllocated": 7},
        "stored-0": {"BitsStored": 0, "HighBit": 65535}, "samples-0": {"SamplesPerPixel": 0},
        "samples-9": {"SamplesPerPixel": 9}, "rgb": {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB"},
        "palette": {"PhotometricInterpretation": "PALETTE COLOR"}, "width-0": {"WindowCenter": "1", "WindowWidth": "0"},
        "width-nan": {"WindowCenter": "1", "WindowWidth": "nan"}, "slope-inf": {"RescaleSlope": "inf",
                                                                                  "RescaleIntercept": "0"},
        "slope-huge": {"RescaleSlope": "1e308", "RescaleIntercept": "1e308"},
        "spacing-nan": {"PixelSpacing": ["nan", "1"]}, "spacing-0": {"PixelSpacing": ["0", "0"]},
        "spacing-one": {"PixelSpacing": "1"}, "orientation-nan": {"ImageOrientationPatient": ["nan"] * 6,
                                                                  "ImagePositionPatient": ["1"] * 3},
        "orientation-short": {"ImageOrientationPatient": ["1", "0"], "ImagePositionPatient": ["1"]},
        "window-many": {"WindowCenter": ["1", "2"], "WindowWidth": ["5"]}, "charset": {"SpecificCharacterSet": "none"},
        "series": {"SeriesInstanceUID": "x" * 200},
        "monochrome1": {"PhotometricInterpretation": "MONOCHROME1"}, "representation": {"PixelRepresentation": 9},
    }.items():  # fmt: skip
        yield "dicom", name, dicom(**tags)
        if name in ("spacing-nan", "orientation-nan", "orientation-short", "spacing-0"):
            yield "dicom-series", name, _series(**tags)
    yield "dicom-deflated", "bomb", _deflated


def _series(**tags: Any) -> Write:
    def write(folder: Path) -> Path:
        import pydicom
        from dicom_volumes import write_series

        write_series(folder / "s", np.zeros((5, 4, 3), np.int16), np.eye(4))
        dataset = pydicom.dcmread(folder / "s" / "002.dcm")
        for name, value in tags.items():
            setattr(dataset, name, value)
        dataset.save_as(folder / "s" / "002.dcm")
        return folder / "s" / "002.dcm"

    return write


def _deflated(folder: Path) -> Path:
    """Write a data set of few bytes that unpacks to two GiB."""
    import pydicom

    path = write_dicom(folder / "a.dcm")
    dataset = pydicom.dcmread(path)
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
    dataset.save_as(path, enforce_file_format=True)
    data = path.read_bytes()
    start = 144 + int.from_bytes(data[140:144], "little")
    plain = zlib.decompress(data[start:], -15)
    path.write_bytes(data[:start] + _squeezed(plain + b"\x09\x00\x10\x00OB\0\0\xff\xff\xff\x7f", 2 * _GIB))
    return path


def _texts() -> Iterator[tuple[str, str, Write]]:
    head = b"regions:\n  one: {data: 'phantom:chest'}\n"
    laughs = "".join(f"a{index}: &a{index} [{', '.join([f'*a{index - 1}'] * 9)}]\n" for index in range(1, 30))
    for name, text in {
        "digits": head + f"seed: {_DIGITS}\n".encode(), "hex-digits": head + b"seed: 0x" + b"f" * 10_000,
        "hex-float": head + b"train: {lr: 0x" + b"f" * 10_000 + b"}", "negative": head + b"seed: -1",
        "deep": head + b"train: " + b"[" * 100_000, "deep-closed": head + b"train: " + b"[" * 400 + b"]" * 400,
        "deep-block": head + b"".join(b" " * at + b"a:\n" for at in range(3000)),
        "keys": head + b"".join(b"k%d: 1\n" % index for index in range(100_000)),
        "region-keys": b"regions:\n" + b"".join(b"  k%d: {data: x}\n" % index for index in range(30_000)),
        "items": head + b"x: [" + b"1," * 1_000_000 + b"]",
        "laughs": head + b"a0: &a0 [lol]\n" + laughs.encode(), "itself": b"&a regions: *a",
        "loop": head + b"train: &a [*a]",
        "loop-mapping": head + b"train: &a {lr: *a}", "python": head + b"x: !!python/object/apply:os.system [ls]",
        "tag": head + b"x: !foo bar", "binary": head + b"seed: !!binary '###'", "time": head + b"seed: 2001-99-99",
        "list-key": head + b"? [1, 2]\n: 3", "mapping-key": head + b"? {a: 1}\n: 3", "null-key": head + b"null: 3",
        "merge": head + b"<<: 3", "nan": head + b"train: {lr: .nan}",
        "inf": head + b"train: {lr: .inf, momentum: -.inf}",
        "sexagesimal": head + b"seed: 190:20:30", "odd-sexagesimal": head + b"seed: 1:" + b"59:" * 5000 + b"1",
        "empty-int": head + b"seed: 0x_", "underscores": head + b"seed: 0b_", "set": head + b"train: !!set {a, b}",
        "pairs": head + b"train: !!pairs [a: 1]", "documents": head + b"---\na: 1\n",
        "utf-16": "\ufeffa: 1".encode("utf-16"),
        "nul": head + b"x: \0", "surrogate": head + b'name: "\\ud800"', "escape": head + b'name: "\\x1b[31m"',
        "long": b"name: " + b"a" * 1_000_000, "list": b"- 1", "nothing": b"", "number": b"3", "anchor": b"*a",
        "float-overflow": head + b"train: {lr: " + b"9" * 4000 + b"}", "bool-number": head + b"seed: true",
        "huge-size": head + b"image: {size: [" + b"32," * 100_000 + b"]}", "omap": head + b"train: !!omap [a]",
        "pattern": b"regions: {one: {data: 'phantom:chest', groups: '" + b"(a+)+" * 2000 + b"'}}",
        "nested-pattern": b"regions: {one: {data: 'phantom:chest', groups: '" + b"(?:" * 5000 + b")" * 5000 + b"'}}",
    }.items():  # fmt: skip
        yield "yaml", name, _put("decompose.yaml", text)
    for name, labels in {
        "digits": f'{{"labels": {{"{_DIGITS}": "a"}}}}', "deep": '{"labels":' * 100_000, "number": _DIGITS,
        "nan": '{"labels": {"a": NaN}}', "inf": '{"labels": {"a": Infinity}}', "negative": '{"labels": {"a": -1}}',
        "big": '{"labels": {"a": 99999999999999999999}}', "list": '{"labels": [1, 2]}',
        "superscript": '{"labels": {"²": "a"}}',
        "nested": '{"labels": {"a": [[1]]}}', "null": '{"labels": {"a": null}}', "empty": '{"labels": {}}',
    }.items():  # fmt: skip
        yield "decathlon", name, _decathlon(labels)
    for name, table in {
        "digits": f"path,label\n0.png,{_DIGITS}\n", "columns": ",".join(f"c{at}" for at in range(50_000)) + "\n",
        "cell": "path,label\n0.png," + "x" * 200_000, "quote": 'path,label\n0.png,"x', "nul": "path,label\n0.png,\0\n",
        "long-path": "path,label\n" + "x" * 5000 + ",1\n", "escape": "path,label\n../../../etc/passwd,1\n",
        "nul-path": "path,label\na\0b,1\n", "tilde": "path,label\n~nosuchuser/a.png,1\n", "sep": "sep=;\n",
        "folder": "path,label\n.,1\n", "same": "path,path\n0.png,1\n", "empty": "", "newlines": "\n" * 10_000,
    }.items():  # fmt: skip
        yield "manifest", name, _manifest(table.encode())
    yield "manifest", "utf-16", _manifest("path,label\n0.png,1".encode("utf-16")[:-1])
    yield "manifest", "latin-1", _manifest("path,label\n0.png,schön".encode("latin-1"))
    for name, cells in {
        "digits": f"1,u,{_DIGITS},3,0", "digit-label": f"1,u,s,3,{_DIGITS}", "digit-time": f"{_DIGITS},u,s,3,0",
        "nan": "nan,nan,nan,nan,nan", "inf": "inf,u,s,1e999,0", "date": "9999-99-99,u,s,3,0", "short": "1,u",
        "long": "1,u,s,3,0,9,9,9", "quote": '1,"u,s,3,0', "nul": "1,u\0,s,3,0",
    }.items():  # fmt: skip
        rows = [f"{at},u{at % 3},s{at % 2},{at},{at % 2}" for at in range(20)]
        text = "\n".join(["time,user,shop,amount,is_fraud", *rows, cells])
        yield "graph-csv", name, _put("table.csv", text.encode())


def _manifest(data: bytes) -> Write:
    def write(folder: Path) -> Path:
        for index in range(4):
            Image.fromarray(np.full((8, 8), index, np.uint8)).save(folder / f"{index}.png")
        return _put("table.csv", data)(folder)

    return write


def _decathlon(text: str) -> Write:
    def write(folder: Path) -> Path:
        for name in ("imagesTr", "labelsTr"):
            (folder / "brain" / name).mkdir(parents=True)
            for case in ("a", "b"):
                image = nib.Nifti1Image(np.arange(64, dtype=np.uint8).reshape(4, 4, 4) % 2, np.eye(4))
                nib.save(image, folder / "brain" / name / f"{case}.nii.gz")
        return _put("brain/dataset.json", text.encode())(folder)

    return write


def tensors() -> dict[str, Any]:
    """Return the intact weights of the small network of `file_kinds`, whose tensors are replaced."""
    return {
        "conv.weight": torch.ones(2, 1, 3, 3), "conv.bias": torch.ones(2), "norm.weight": torch.ones(2),
        "norm.bias": torch.ones(2), "norm.running_mean": torch.ones(2), "norm.running_var": torch.ones(2),
        "norm.num_batches_tracked": torch.tensor(1),
    }  # fmt: skip


def _tensors() -> Iterator[tuple[str, str, Write]]:
    def saved(document: Any, name: str = "w.pth", **options: Any) -> Write:
        def write(folder: Path) -> Path:
            torch.save(document, folder / name, **options)
            return folder / name

        return write

    odd: dict[str, Any] = {
        "sparse": torch.ones(2, 1, 3, 3).to_sparse(), "meta": torch.ones(2, 1, 3, 3, device="meta"),
        "csr": torch.ones(2, 9).to_sparse_csr(), "huge-sparse": torch.sparse_coo_tensor(
            torch.zeros(1, 1, dtype=torch.long), torch.ones(1), (2**40,)),
        "expanded": torch.ones(1).expand(2, 1, 3, 3), "huge-expanded": torch.ones(1).expand(2**20, 2**20),
        "quantised": torch.quantize_per_tensor(torch.ones(2, 1, 3, 3), 0.1, 0, torch.quint8),
        "complex": torch.ones(2, 1, 3, 3, dtype=torch.complex64), "bool": torch.ones(2, 1, 3, 3, dtype=torch.bool),
        "integers": torch.ones(2, 1, 3, 3, dtype=torch.int64), "float8": torch.ones(2, 1, 3, 3).to(torch.float8_e5m2),
        "half": torch.ones(2, 1, 3, 3, dtype=torch.bfloat16), "double": torch.ones(2, 1, 3, 3,
        dtype=torch.float64) * 1e300,
        "scalar": torch.tensor(1.0), "empty": torch.zeros(0), "nan": torch.full((2, 1, 3, 3), float("nan")),
        "transposed": torch.ones(3, 3, 1, 2).permute(3, 2, 1, 0), "parameter": torch.nn.Parameter(torch.ones(2, 1, 3,
        3)),
        "number": 3, "none": None, "text": "x" * 1000, "list": [torch.ones(2)], "meta-buffer": torch.ones(0,
        device="meta"),
    }  # fmt: skip
    for name, value in odd.items():
        yield "torch", name, saved({**tensors(), "conv.weight": value})
        yield "torch", f"{name}-beside", saved({**tensors(), "fc.weight": value})
    deep: dict[str, Any] = {"a": torch.ones(1)}
    for _ in range(300):
        deep = {"a": deep}
    itself: dict[str, Any] = {}
    itself["model"] = itself
    several: dict[Any, Any] = {3: torch.ones(1), None: torch.ones(1), (1, 2): torch.ones(1)}
    for name, document in {"deep": deep, "itself": itself, "keys": several, "list": [torch.ones(1)], "nothing": {},
                           "tensor": torch.ones(3), "number": 10**400}.items():  # fmt: skip
        yield "torch", f"document-{name}", saved(document)
    yield "torch", "legacy-sparse", saved({**tensors(), "conv.weight": odd["sparse"]},
                                          _use_new_zipfile_serialization=False)  # fmt: skip
    yield "torch", "encrypted", _put("w.pth", _zip({"archive/data.pkl": b"\x80\x02}.", "archive/version": b"3"},
                                                   encrypted=True))  # fmt: skip
    yield "torch", "storage-bomb", _storage_bomb
    yield "torch", "legacy-huge", _put("w.pth", _legacy_huge())
    for name, header in {
        "huge": {"conv.weight": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 4]}},
        "overflow": {"conv.weight": {"dtype": "F32", "shape": [2**63, 2**63], "data_offsets": [0, 4]}},
        "negative": {"conv.weight": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}},
        "dtype": {"conv.weight": {"dtype": "F99", "shape": [1], "data_offsets": [0, 4]}},
        "float4": {"conv.weight": {"dtype": "F4", "shape": [8], "data_offsets": [0, 4]}},
        "float8": {"conv.weight": {"dtype": "F8_E8M0", "shape": [4], "data_offsets": [0, 4]}},
        "digits": {"conv.weight": {"dtype": "F32", "shape": [1], "data_offsets": [0, 10**30]}},
        "metadata": {"__metadata__": {"a": 3}},
    }.items():  # fmt: skip
        data = json.dumps(header).encode()
        yield "safetensors", name, _put("w.safetensors", struct.pack("<Q", len(data)) + data + bytes(4))
    yield "safetensors", "header", _put("w.safetensors", struct.pack("<Q", 2**63) + bytes(100))
    yield "safetensors", "deep", _put("w.safetensors", struct.pack("<Q", 50_000) + b"[" * 50_000)


def _storage_bomb(folder: Path) -> Path:
    """Write a torch file of few bytes whose storage unpacks to two GiB."""
    source, path = folder / "small.pth", folder / "w.pth"
    torch.save({"conv.weight": torch.zeros(1 << 8)}, source)
    with zipfile.ZipFile(source) as small, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as large:
        for entry in small.infolist():
            data = small.read(entry)
            if not entry.filename.endswith("/data/0"):
                pickled = data.replace(b"M\x00\x01", b"J\x00\x00\x00\x20")  # 2**29 values of four bytes
                large.writestr(entry.filename, pickled)
                continue
            with large.open(entry.filename, "w", force_zip64=True) as member:
                for _ in range(2 * _GIB >> 24):
                    member.write(bytes(1 << 24))
    source.unlink()
    return path


def _legacy_huge() -> bytes:
    """Return a file of torch before 1.6 that declares a storage of 2**29 values and has none."""
    stream = io.BytesIO()
    torch.save({"conv.weight": torch.zeros(1 << 8)}, stream, _use_new_zipfile_serialization=False)
    data = stream.getvalue().replace(b"M\x00\x01", b"J\x00\x00\x00\x20")
    return data[: -4 * (1 << 8) - 8] + struct.pack("<q", 1 << 29)


def _links() -> Iterator[tuple[str, str, Write]]:
    def linked(name: str) -> Write:
        def write(folder: Path) -> Path:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            os.symlink(folder / name, folder / name)
            return folder / name

        return write

    def directory(name: str) -> Write:
        def write(folder: Path) -> Path:
            (folder / name).mkdir(parents=True)
            return folder / name

        return write

    for kind, name in {"png": "a.png", "nifti": "a.nii", "nifti-gz": "a.nii.gz", "dicom": "a.dcm", "npz": "data.npz",
                       "manifest": "table.csv", "graph-npz": "graph.npz", "graph-mat": "graph.mat",
                       "graph-csv": "table.csv", "graph-parquet": "table.parquet", "yaml": "decompose.yaml",
                       "torch": "w.pth", "safetensors": "w.safetensors", "onnx": "m.onnx"}.items():  # fmt: skip
        yield kind, "link-to-itself", linked(name)
        yield kind, "directory", directory(name)
        yield kind, "missing", lambda folder, name=name: folder / name
