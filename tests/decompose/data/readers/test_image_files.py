"""Sequences of image files: decoded once, and never from outside their root."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lorkit.decompose.data.readers.image_files import FileImages, within
from lorkit.decompose.documents.recipe import Intensity
from lorkit.decompose.errors import DataError


def test_files_are_decoded_once_while_they_fit(tmp_path: Path) -> None:
    paths = [tmp_path / f"{index}.png" for index in range(2)]
    for path in paths:
        Image.fromarray(np.zeros((8, 8), np.uint8)).save(path)
    images = FileImages(paths, Intensity(op="intensity", rule="dtype"), cache_bytes=64)
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
