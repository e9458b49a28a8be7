"""Image files: every accepted kind, and what is refused."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lorkit.decompose.data.formats.pictures import read
from lorkit.decompose.errors import DataError

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("suffix", "shape", "dtype"),
    [
        ("png", (7, 9), np.uint8),
        ("png", (7, 9, 3), np.uint8),
        ("png", (7, 9), np.uint16),
        ("tiff", (7, 9), np.uint16),
        ("tiff", (7, 9), np.float32),
        ("bmp", (7, 9, 3), np.uint8),
    ],
)
def test_lossless_files_come_back_exactly(tmp_path: Path, suffix: str, shape: tuple[int, ...], dtype: type) -> None:
    pixels = (RNG.random(shape) * 60000).astype(np.uint16).astype(dtype)
    path = tmp_path / f"image.{suffix}"
    Image.fromarray(pixels).save(path)
    found = read(path).values
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, pixels)


def test_jpeg_and_opaque_alpha_are_read(tmp_path: Path) -> None:
    Image.fromarray(np.full((8, 8), 100, np.uint8)).save(tmp_path / "a.jpg")
    assert abs(int(read(tmp_path / "a.jpg").values[4, 4]) - 100) <= 2
    Image.new("RGBA", (4, 4), (10, 20, 30, 255)).save(tmp_path / "b.png")
    assert read(tmp_path / "b.png").values[0, 0].tolist() == [10, 20, 30]


# what a viewer shows for each EXIF orientation of the same stored pixels
TURNS = {
    1: lambda x: x,
    2: np.fliplr,
    3: lambda x: np.rot90(x, 2),
    4: np.flipud,
    5: np.transpose,
    6: lambda x: np.rot90(x, -1),
    7: lambda x: np.rot90(np.transpose(x), 2),
    8: np.rot90,
}


@pytest.mark.parametrize(
    ("suffix", "options"), [("png", {}), ("jpg", {}), ("tiff", {}), ("tif", {"compression": "tiff_lzw"})]
)
@pytest.mark.parametrize("orientation", TURNS)
def test_a_picture_is_turned_as_a_viewer_shows_it(
    tmp_path: Path, suffix: str, options: dict[str, str], orientation: int
) -> None:
    stored = np.zeros((16, 24), np.uint8)
    stored[:8, :16] = 200
    stored[:8, :8] = 100
    image = Image.fromarray(stored)
    exif = image.getexif()
    exif[0x0112] = orientation
    image.save(tmp_path / f"a.{suffix}", exif=exif, **options)
    found = read(tmp_path / f"a.{suffix}")
    expected = TURNS[orientation](stored)
    assert found.values.shape == expected.shape
    assert np.abs(found.values.astype(int) - expected).max() <= 40, "JPEG differs by little, a wrong turn by a lot"
    assert bool(found.notes) == (orientation != 1)


def write_tiff(path: Path, stored: np.ndarray, *, photometric: int, sample_format: int = 1) -> Path:
    """Write an uncompressed TIFF of one strip; Pillow does not write zero as white."""
    height, width = stored.shape
    bits = stored.dtype.itemsize * 8
    tags = [(256, width), (257, height), (258, bits), (259, 1), (262, photometric), (273, 8), (277, 1), (278, height),
            (279, stored.nbytes), (339, sample_format)]  # fmt: skip
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    directory = struct.pack("<H", len(tags)) + entries + struct.pack("<I", 0)
    path.write_bytes(b"II*\0" + struct.pack("<I", 8 + stored.nbytes) + stored.tobytes() + directory)
    return path


@pytest.mark.parametrize("bits", [8, 16])
def test_a_tiff_in_which_zero_is_white_is_inverted(tmp_path: Path, bits: int) -> None:
    shown = (RNG.random((7, 9)) * (2**bits - 1)).astype(f"uint{bits}")
    black = read(write_tiff(tmp_path / "black.tif", shown, photometric=1))
    white = read(write_tiff(tmp_path / "white.tif", np.invert(shown), photometric=0))
    np.testing.assert_array_equal(black.values, shown)
    np.testing.assert_array_equal(white.values, shown)
    assert (white.was_inverted, black.was_inverted) == (True, False)


def test_numbers_beyond_16_bits_have_no_white(tmp_path: Path) -> None:
    path = write_tiff(tmp_path / "a.tif", np.full((4, 4), 0.5, np.float32), photometric=0, sample_format=3)
    with pytest.raises(DataError, match=r"a\.tif has float32 pixels in which zero is white"):
        read(path)


@pytest.mark.parametrize("least", [-1024, 0])
def test_a_32_bit_tiff_keeps_its_numbers_whatever_they_are(tmp_path: Path, least: int) -> None:
    hounsfield = np.array([[least, 0], [40, 1900]], np.int32)
    found = read(write_tiff(tmp_path / "a.tif", hounsfield, photometric=1, sample_format=2))
    assert found.values.dtype == np.float32
    np.testing.assert_array_equal(found.values, hounsfield)


def test_transparent_pixels_are_refused(tmp_path: Path) -> None:
    Image.new("RGBA", (4, 4), (10, 20, 30, 0)).save(tmp_path / "a.png")
    with pytest.raises(DataError, match="transparent"):
        read(tmp_path / "a.png")


@pytest.mark.parametrize("mode", ["L", "P", "RGB"])
def test_a_transparent_colour_is_refused_where_a_pixel_has_it(tmp_path: Path, mode: str) -> None:
    image = Image.fromarray(np.array([[10, 20], [30, 40]], np.uint8)).convert(mode)
    used, unused = {"L": (20, 21), "P": (image.getpixel((1, 0)), 7), "RGB": ((20, 20, 20), (1, 2, 3))}[mode]
    image.save(tmp_path / "a.png", transparency=used)
    with pytest.raises(DataError, match="transparent"):
        read(tmp_path / "a.png")
    image.save(tmp_path / "b.png", transparency=unused)
    np.testing.assert_array_equal(
        read(tmp_path / "b.png").values, np.asarray(image.convert("RGB" if mode != "L" else "L"))
    )


@pytest.mark.parametrize("orientation", [0, 9])
def test_an_orientation_without_meaning_is_ignored_and_that_is_said(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = np.arange(6, dtype=np.uint8).reshape(2, 3)
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    found = read(tmp_path / "a.png")
    np.testing.assert_array_equal(found.values, pixels)
    assert found.notes == (f"EXIF orientation {orientation} has no meaning: ignored",)


def test_several_frames_are_refused(tmp_path: Path) -> None:
    frames = [Image.fromarray(np.full((4, 4), value, np.uint8)) for value in (1, 2)]
    frames[0].save(tmp_path / "a.tiff", save_all=True, append_images=frames[1:])
    with pytest.raises(DataError, match="2 frames"):
        read(tmp_path / "a.tiff")


@pytest.mark.parametrize("keep", [0, 20, 60, 200])
def test_truncated_files_are_refused_by_name(tmp_path: Path, keep: int) -> None:
    for suffix in ("png", "jpg", "tiff"):
        path = tmp_path / f"whole.{suffix}"
        Image.fromarray(RNG.integers(0, 256, (40, 40), dtype=np.uint8)).save(path)
        cut = tmp_path / f"cut.{suffix}"
        cut.write_bytes(path.read_bytes()[:keep])
        with pytest.raises(DataError, match=f"cut.{suffix}"):
            read(cut)


def test_text_under_an_image_name_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("not an image")
    with pytest.raises(DataError, match=r"a\.png cannot be decoded"):
        read(tmp_path / "a.png")


def test_decompression_bombs_are_refused(tmp_path: Path) -> None:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    for side in (9000, 60000):
        header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
        data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
        (tmp_path / "bomb.png").write_bytes(data)
        with pytest.raises(DataError, match=r"bomb\.png.*pixels"):
            read(tmp_path / "bomb.png")


def test_missing_file_and_foreign_mode_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no file at"):
        read(tmp_path / "none.png")
    Image.new("CMYK", (4, 4)).save(tmp_path / "a.jpg")
    with pytest.raises(DataError, match="CMYK"):
        read(tmp_path / "a.jpg")
