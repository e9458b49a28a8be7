"""Arrays of `.npz` files: damage and pickled objects are refused by name."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from lorkit.decompose.data.formats import npz
from lorkit.decompose.errors import DataError

IMAGES = np.random.default_rng(0).integers(0, 256, (4, 6, 5), dtype=np.uint8)
LABELS = np.array([0, 1, 1, 0])


def test_arrays_come_back_by_name(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", images=IMAGES, labels=LABELS)
    assert npz.keys_of(tmp_path / "a.npz") == ("images", "labels")
    np.testing.assert_array_equal(npz.load_arrays(tmp_path / "a.npz")["images"], IMAGES)


def test_text_is_read_from_text_bytes_and_numbers() -> None:
    assert npz.texts(np.array([b"a", b"\xff"])) == ("a", "\ufffd")
    assert npz.texts(np.array([1, 2])) == ("1", "2")
    assert npz.texts(None) is None


def test_a_pickle_is_refused_and_not_run(tmp_path: Path) -> None:
    (tmp_path / "bare.npz").write_bytes(pickle.dumps({"images": 1}))
    with pytest.raises(DataError, match=r"bare\.npz cannot be read"):
        npz.load_arrays(tmp_path / "bare.npz")


@pytest.mark.parametrize("keep", [0, 10, 0.5, 0.99])
def test_truncated_files_are_refused_by_name(tmp_path: Path, keep: float) -> None:
    path = tmp_path / "a.npz"
    np.savez_compressed(path, images=IMAGES, labels=LABELS)
    data = path.read_bytes()
    path.write_bytes(data[: int(keep * len(data)) if keep < 1 else int(keep)])
    with pytest.raises(DataError, match=r"a\.npz"):
        npz.load_arrays(path)


def test_flipped_byte_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, images=IMAGES, labels=LABELS)
    data = bytearray(path.read_bytes())
    data[data.index(IMAGES.tobytes()[:16]) + 4] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(DataError, match="CRC"):
        npz.load_arrays(path)
