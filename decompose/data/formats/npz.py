"""The arrays of an `.npz` file, read without running anything in it."""

from __future__ import annotations

import ast
import math
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.format import MAGIC_PREFIX
from numpy.typing import NDArray

from lorkit.decompose.data.formats.limits import check_fits
from lorkit.decompose.errors import DataError, reads

_WANTED = "an intact .npz file"
_PICKLED = ("allow_pickle", "pickle")
_MOST_HEADER = 10_000  # bytes, as numpy reads them


@reads(_WANTED)
def keys_of(path: Path) -> tuple[str, ...]:
    """Return the array names of an `.npz` without reading arrays; raise DataError if it is missing or damaged."""
    with zipfile.ZipFile(path) as archive:
        return tuple(name.removesuffix(".npy") for name in archive.namelist())


@reads(_WANTED, fix="copy or download it again")
def load_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Read every array of an `.npz`.

    Raises:
        DataError: It is damaged, truncated or encrypted, has pickled objects or what is no array, or declares more than
            fits in memory.
    """
    keys_of(path)  # raises for a pickle or .npy with this suffix; np.load would read the latter
    check_fits(path, sum(_declared(path)), "its arrays")
    with np.load(path, allow_pickle=False) as archive:
        return {key: _array(path, archive, key) for key in archive.files}


def _array(path: Path, archive: Any, key: str) -> NDArray[Any]:
    try:
        found: NDArray[Any] = archive[key]
    except ValueError as error:
        if not any(word in str(error) for word in _PICKLED):
            raise
        raise DataError(
            f"{path} holds pickled Python objects, which can run code when read",
            required="plain numeric and text arrays",
            fix="save it again without object arrays",
        ) from None
    return found


def _declared(path: Path) -> Iterator[int]:
    """Yield the bytes of each array of an `.npz` as its header declares them."""
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            with archive.open(name) as member:
                if member.read(len(MAGIC_PREFIX)) != MAGIC_PREFIX:  # numpy would return its bytes, however many
                    raise DataError(
                        f"{path}: '{name}' is no array", required="arrays only", fix="save it again with numpy.savez"
                    )
                major, _ = member.read(2)
                width = 2 if major == 1 else 4
                text = member.read(min(_MOST_HEADER, int.from_bytes(member.read(width), "little")))
                header = ast.literal_eval(text.decode("latin1"))
                size = np.lib.format.descr_to_dtype(header["descr"]).itemsize
                yield math.prod(abs(int(side)) for side in header["shape"]) * size


def texts(values: NDArray[Any] | None) -> tuple[str, ...] | None:
    """Return an array of text, bytes or numbers as strings."""
    if values is None:
        return None
    if values.dtype.kind == "S":
        return tuple(value.decode("utf-8", "replace") for value in values.reshape(-1).tolist())
    return tuple(str(value) for value in np.atleast_1d(values).tolist())
