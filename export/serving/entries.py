"""The entries of a store as bytes and text: the exact numbers, checked when they are read.

Shapes: C classes, F features, P places.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from json.encoder import encode_basestring
from typing import Any

import numpy as np

from lorkit.decompose.artifacts.arrays import Float32Array, Floats
from lorkit.export.serving.counters import Layout, Row, damaged

_SUMS, _VALUES = np.dtype("<f8"), np.dtype("<f4")


def cells_of(sums: Floats) -> list[bytes]:
    """Return sums (P, C+1, F+1) as P times bytes."""
    data = np.ascontiguousarray(sums, dtype=_SUMS).tobytes()
    size = _SUMS.itemsize * int(np.prod(sums.shape[1:]))
    return [data[at : at + size] for at in range(0, len(data), size)]


def sums_of(cells: Sequence[object], layout: Layout, where: str) -> Floats:
    """Return the sums (P, C+1, F+1) from bytes, zeros for None.

    Raises:
        ArtifactError: An entry has another size.
    """
    size = _SUMS.itemsize * int(np.prod(layout.shape))
    nothing = bytes(size)
    whole = [nothing if cell is None else cell for cell in cells]
    return np.frombuffer(_joined(whole, size, where), dtype=_SUMS).reshape(-1, *layout.shape).copy()


def values_cell(values_F: Float32Array) -> bytes:
    """Return the features of a row as bytes."""
    return np.asarray(values_F, dtype=_VALUES).tobytes()


def values_size(layout: Layout) -> int:
    """Return the number of bytes that the features of a row take."""
    return _VALUES.itemsize * len(layout.features)


def keys_text(keys: Sequence[str | None]) -> str:
    """Return the keys of a row as JSON."""
    return f"[{', '.join(['null' if key is None else encode_basestring(key) for key in keys])}]"


def row_of(layout: Layout, where: str, keys: object, values: object, time: object, label: object, score: object) -> Row:
    """Return a row from its entry: keys as JSON, features as bytes, and the rest as they are.

    Raises:
        ArtifactError: They are not those of a row.
    """
    values_F = np.frombuffer(_joined([values], values_size(layout), where), dtype=_VALUES)
    names = _keys_of(keys)
    if (
        names is None
        or len(names) != len(layout.relations)
        or not isinstance(time, float | None)
        or not isinstance(label, int)
        or not -1 <= label < len(layout.classes)
        or not isinstance(score, str | None)
    ):
        raise damaged(where, "an entry that is no row")
    return Row(keys=names, values_F=values_F, time=time, label=label, score=score)


def _keys_of(text: object) -> tuple[str | None, ...] | None:
    try:
        found: Any = json.loads(text) if isinstance(text, str) else None
    except Exception:  # boundary
        return None
    return tuple(found) if isinstance(found, list) and all(isinstance(key, str | None) for key in found) else None


def _joined(cells: Sequence[object], size: int, where: str) -> bytes:
    wholes: list[bytes] = [cell for cell in cells if isinstance(cell, bytes) and len(cell) == size]
    if len(wholes) != len(cells):
        raise damaged(where, "an entry of another size")
    return b"".join(wholes)
