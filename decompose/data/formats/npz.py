"""The arrays of an `.npz` file, read without running anything in it."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lorkit.decompose.errors import DataError

_DAMAGE = (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error, MemoryError, NotImplementedError)
_PICKLED = ("allow_pickle", "pickle")


def keys_of(path: Path) -> tuple[str, ...]:
    """Return the array names of an `.npz` without reading arrays; raise DataError if it is missing or damaged."""
    try:
        with zipfile.ZipFile(path) as archive:
            return tuple(name.removesuffix(".npy") for name in archive.namelist())
    except FileNotFoundError:
        raise DataError(f"no data at {path}", required="an .npz file", fix="check the path") from None
    except _DAMAGE as error:
        raise _damaged(path, error) from None


def load_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Read every array of an `.npz`; raise DataError if it is damaged, truncated or has pickled objects."""
    keys_of(path)  # raises for a pickle or .npy with this suffix; np.load would read the latter
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {key: archive[key] for key in archive.files}
    except _DAMAGE as error:
        if any(word in str(error) for word in _PICKLED):
            raise DataError(
                f"{path} holds pickled Python objects, which can run code when read",
                required="plain numeric and text arrays",
                fix="save it again without object arrays",
            ) from None
        raise _damaged(path, error) from None


def texts(values: NDArray[Any] | None) -> tuple[str, ...] | None:
    """Return an array of text, bytes or numbers as strings."""
    if values is None:
        return None
    if values.dtype.kind == "S":
        return tuple(value.decode("utf-8", "replace") for value in values.tolist())
    return tuple(str(value) for value in values.tolist())


def _damaged(path: Path, error: BaseException) -> DataError:
    return DataError(
        f"{path} cannot be read ({type(error).__name__}: {error})",
        required="an intact .npz file",
        fix="copy or download it again",
    )
