"""Image files: every accepted kind, and what is refused."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lorkit.decompose.data.readers.image_files import FileImages, read_image, within
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
    read = read_image(path)
    assert read.dtype == dtype
    np.testing.assert_array_equal(read, pixels)


def test_jpeg_and_opaque_alpha_are_read(tmp_path: Path) -> None:
    Image.fromarray(np.full((8, 8), 100, np.uint8)).save(tmp_path / "a.jpg")
    assert abs(int(read_image(tmp_path / "a.jpg")[4, 4]) - 100) <= 2
    Image.new("RGBA", (4, 4), (10, 20, 30, 255)).save(tmp_path / "b.png")
    assert read_image(tmp_path / "b.png")[0, 0].tolist() == [10, 20, 30]


def test_exif_orientation_is_ignored(tmp_path: Path) -> None:
    image = Image.fromarray(np.zeros((4, 8), np.uint8))
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(tmp_path / "a.jpg", exif=exif)
    assert read_image(tmp_path / "a.jpg").shape == (4, 8)


def test_transparent_pixels_are_refused(tmp_path: Path) -> None:
    Image.new("RGBA", (4, 4), (10, 20, 30, 0)).save(tmp_path / "a.png")
    with pytest.raises(DataError, match="transparent"):
        read_image(tmp_path / "a.png")


def test_several_frames_are_refused(tmp_path: Path) -> None:
    frames = [Image.fromarray(np.full((4, 4), value, np.uint8)) for value in (1, 2)]
    frames[0].save(tmp_path / "a.tiff", save_all=True, append_images=frames[1:])
    with pytest.raises(DataError, match="2 frames"):
        read_image(tmp_path / "a.tiff")


@pytest.mark.parametrize("keep", [0, 20, 60, 200])
def test_truncated_files_are_refused_by_name(tmp_path: Path, keep: int) -> None:
    for suffix in ("png", "jpg", "tiff"):
        path = tmp_path / f"whole.{suffix}"
        Image.fromarray(RNG.integers(0, 256, (40, 40), dtype=np.uint8)).save(path)
        cut = tmp_path / f"cut.{suffix}"
        cut.write_bytes(path.read_bytes()[:keep])
        with pytest.raises(DataError, match=f"cut.{suffix}"):
            read_image(cut)


def test_text_under_an_image_name_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("not an image")
    with pytest.raises(DataError, match=r"a\.png cannot be decoded"):
        read_image(tmp_path / "a.png")


def test_decompression_bombs_are_refused(tmp_path: Path) -> None:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    for side in (9000, 60000):
        header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
        data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
        (tmp_path / "bomb.png").write_bytes(data)
        with pytest.raises(DataError, match=r"bomb\.png.*pixels"):
            read_image(tmp_path / "bomb.png")


def test_missing_file_and_foreign_mode_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no image at"):
        read_image(tmp_path / "none.png")
    Image.new("CMYK", (4, 4)).save(tmp_path / "a.jpg")
    with pytest.raises(DataError, match="CMYK"):
        read_image(tmp_path / "a.jpg")


def test_files_are_decoded_once_while_they_fit(tmp_path: Path) -> None:
    paths = [tmp_path / f"{index}.png" for index in range(2)]
    for path in paths:
        Image.fromarray(np.zeros((8, 8), np.uint8)).save(path)
    images = FileImages(paths, cache_bytes=64)
    assert len(images) == 2
    assert images[0] is images[0]
    assert images[1] is not images[1]


def test_links_out_of_the_root_are_refused(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "secret.png").write_bytes(b"")
    (tmp_path / "root" / "link.png").symlink_to(tmp_path / "secret.png")
    for name in ("link.png", "../secret.png"):
        with pytest.raises(DataError, match="outside"):
            within(tmp_path / "root", tmp_path / "root" / name, "manifest, line 2")


@pytest.mark.parametrize("name", ["a\0b.png", "x" * 5000])
def test_a_text_that_is_no_path_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match=r"row 3: .* is not a path"):
        within(tmp_path, tmp_path / name, "row 3")
