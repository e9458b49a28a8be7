"""The numeric, text and sparse variables of a MAT file of MATLAB 5 to 7.2, read without native code.

scipy's reader trusts the sizes that a file states: a damaged one ended the process. Here each size is compared with the
bytes at hand before it is used, cells and structs are not entered, and a file costs time linear in its bytes.

Source: MathWorks, "MAT-File Format", R2016a: elements in the section "Level 5 MAT-File Data Element Format".
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csc_array

from lorkit.decompose.data.formats.limits import check_fits
from lorkit.decompose.errors import DataError, refusing_damage

MOST_VARIABLES = 10_000
WANTED = "an intact .mat file of MATLAB 5 to 7.2"
_HEAD, _TAG, _FLAGS = 128, 8, 8  # bytes of the header of the file, of a tag, of the flags of an array
_MOST_SIDES, _MOST_NAME = 32, 4096
_START = 65_536  # bytes that hold the flags, the sides and the name of every variable
_INT32, _UINT32, _INT8, _MATRIX, _COMPRESSED = 5, 6, 1, 14, 15
_NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_TEXTS = {1: "ascii", 2: "ascii", 4: "utf-16", 16: "utf-8", 17: "utf-16", 18: "utf-32"}
_INDICES = {np.dtype("i4"), np.dtype("u4")}
_TEXT, _SPARSE, _DENSE, _COMPLEX = 4, 5, range(6, 16), 0x0800
_OTHERS = {1: "a cell array", 2: "a struct", 3: "an object", 16: "a function", 17: "an object"}


@dataclass(frozen=True)
class Unread:
    """A variable that was not read.

    Attributes:
        what: What it is, with its article.
    """

    what: str


Variable: TypeAlias = Any
"""An array, a `csc_array` (scipy has no types) or `Unread`."""


@dataclass(frozen=True)
class _Array:
    """What stands before the values of a variable, the values, and how numbers are stored ("<" or ">")."""

    kind: int
    complex: bool
    sides: tuple[int, ...]
    name: str
    values: memoryview
    order: str


def read_variables(path: Path, wanted: Callable[[str], bool]) -> dict[str, Variable]:
    """Read the variables with a wanted name; the others come as `Unread`, as do cells, structs and complex numbers.

    Numbers have the type that the file stores, in the shape of the variable; texts are (rows,); sparse variables are
    `csc_array` whose indices lie within it.

    Raises:
        DataError: It is damaged, of another version, or declares more than fits in memory.
    """
    with refusing_damage(path, required=WANTED, fix="copy or download it again"):
        found: dict[str, Variable] = {}
        for name, load in _variables(path):
            if name in found:
                raise ValueError(f"two variables '{name}'")
            if len(found) == MOST_VARIABLES:
                raise ValueError(f"more than {MOST_VARIABLES:,} variables")
            found[name] = load() if wanted(name) else Unread("not wanted")
        return found


def _variables(path: Path) -> Iterator[tuple[str, Callable[[], Variable]]]:
    """Yield the name of each variable, and what reads it until the next one is asked for."""
    size = path.stat().st_size
    with path.open("rb") as stream:
        order = _order(path, stream.read(_HEAD))
        while tag := stream.read(_TAG):
            kind, count = _unpack(f"{order}II", tag)
            if not 0 < count <= size - stream.tell():
                raise ValueError(f"a variable of {count:,} bytes where {size - stream.tell():,} are left")
            check_fits(path, count, "a variable")
            data = stream.read(count)
            if kind == _COMPRESSED:
                start = zlib.decompressobj().decompress(data, _START)
                name = _begin(start[_TAG:], order).name
                yield name, lambda data=data, name=name: _load(_begin(_inflate(path, data, order, name), order))  # type: ignore[misc]
            elif kind == _MATRIX:
                array = _begin(data, order)
                yield array.name, lambda array=array: _load(array)  # type: ignore[misc]
            else:
                raise ValueError(f"a variable of type {kind}")


def _order(path: Path, head: bytes) -> str:
    """Return the order of bytes that the header states; raise DataError for the header of another version."""
    version = {b"IM": head[-3:-2], b"MI": head[-4:-3]}.get(head[-2:]) if len(head) == _HEAD else None
    if version == b"\x01":
        return "<" if head[-2:] == b"IM" else ">"
    if version == b"\x02":
        raise DataError(
            f"{path} cannot be read (it is of MATLAB 7.3)", required=WANTED, fix="save it with the option -v7"
        )
    raise ValueError("no header of MATLAB 5 to 7.2")


def _inflate(path: Path, data: bytes, order: str, name: str) -> memoryview:
    """Return what a compressed variable holds behind its tag, which states how many bytes this is."""
    inflating = zlib.decompressobj()
    kind, count = _unpack(f"{order}II", inflating.decompress(data, _TAG))
    if kind != _MATRIX:
        raise ValueError(f"'{name}' is of type {kind}")
    check_fits(path, 2 * count, f"'{name}'")  # its bytes, and the array that is made of them
    found = inflating.decompress(inflating.unconsumed_tail, count + 1)
    if not inflating.eof or len(found) != count:
        raise ValueError(f"'{name}' states {count:,} bytes and has another number")
    return memoryview(found)


def _begin(data: bytes | memoryview, order: str) -> _Array:
    """Read the flags, the sides and the name of a variable."""
    kind, flags, left = _element(memoryview(data), order)
    if kind != _UINT32 or len(flags) != _FLAGS:
        raise ValueError("a variable without its kind")
    kind, sides, left = _element(left, order)
    if kind != _INT32 or not 8 <= len(sides) <= 4 * _MOST_SIDES or len(sides) % 4:
        raise ValueError("a variable without its shape")
    kind, name, left = _element(left, order)
    if kind != _INT8 or len(name) > _MOST_NAME:
        raise ValueError("a variable without its name")
    stated = int(_unpack(f"{order}II", flags)[0])
    shape = _unpack(f"{order}{len(sides) // 4}i", sides)
    text = bytes(name).decode("ascii")
    if min(shape) < 0:
        raise ValueError(f"'{text}' has a negative side")
    return _Array(stated & 0xFF, bool(stated & _COMPLEX), shape, text, left, order)


def _element(data: memoryview, order: str) -> tuple[int, memoryview, memoryview]:
    """Return the type of the first element, its bytes, and what follows: the next one begins at a multiple of 8."""
    kind, count = _unpack(f"{order}II", data[:_TAG])
    if small := kind >> 16:  # up to four bytes within the tag
        if small > 4:
            raise ValueError(f"an element of {small} bytes within four")
        return kind & 0xFFFF, data[4 : 4 + small], data[_TAG:]
    if count > len(data) - _TAG:
        raise ValueError(f"an element of {count:,} bytes where {len(data) - _TAG:,} are left")
    return kind, data[_TAG : _TAG + count], data[_TAG + count + -count % 8 :]


def _load(array: _Array) -> Variable:
    if array.kind in _OTHERS:
        return Unread(_OTHERS[array.kind])
    if array.complex:
        return Unread("an array of complex numbers")
    if array.kind == _TEXT:
        return _texts(array)
    if array.kind == _SPARSE:
        return _sparse(array)
    if array.kind not in _DENSE:
        raise ValueError(f"'{array.name}' is of the unknown kind {array.kind}")
    values, _ = _numbers(array, array.values)
    if len(values) != math.prod(array.sides):
        raise ValueError(f"'{array.name}' has {len(values):,} values and the shape {array.sides}")
    return values.reshape(array.sides, order="F")


def _numbers(array: _Array, data: memoryview) -> tuple[NDArray[Any], memoryview]:
    """Return the numbers of an element, as this machine stores them, and what follows."""
    kind, found, left = _element(data, array.order)
    if kind not in _NUMBERS:
        raise ValueError(f"'{array.name}' has values of type {kind}")
    stored = np.frombuffer(found, np.dtype(array.order + _NUMBERS[kind]))
    return stored.astype(stored.dtype.newbyteorder("=")), left


def _texts(array: _Array) -> NDArray[Any]:
    """Return the rows of a matrix of letters."""
    kind, found, _ = _element(array.values, array.order)
    codec = _TEXTS.get(kind)
    if codec is None or len(array.sides) != 2:
        raise ValueError(f"'{array.name}' has letters of type {kind} and the shape {array.sides}")
    if codec in ("utf-16", "utf-32"):
        codec += "-le" if array.order == "<" else "-be"
    rows, columns = array.sides
    text = bytes(found).decode(codec)
    if len(text) != rows * columns:
        raise ValueError(f"'{array.name}' has {len(text):,} letters and the shape {array.sides}")
    return np.array([text[row::rows] for row in range(rows)] if text else [], dtype=str)


def _sparse(array: _Array) -> csc_array:
    """Return a sparse matrix, of which every place lies within it."""
    rows_Z, left = _numbers(array, array.values)
    starts_C, left = _numbers(array, left)
    values_Z, _ = _numbers(array, left)
    if len(array.sides) != 2 or len(starts_C) != array.sides[1] + 1 or {rows_Z.dtype, starts_C.dtype} - _INDICES:
        raise ValueError(f"'{array.name}' has {len(starts_C):,} starts of columns and the shape {array.sides}")
    starts_C, count = starts_C.astype(np.int64), int(starts_C[-1])  # MATLAB keeps room for more values
    if starts_C[0] != 0 or (np.diff(starts_C) < 0).any() or count > min(len(rows_Z), len(values_Z)):
        raise ValueError(f"'{array.name}' has columns that begin outside its {len(values_Z):,} values")
    used_Z = rows_Z[:count]
    if count and not 0 <= used_Z.min() <= used_Z.max() < array.sides[0]:
        raise ValueError(f"'{array.name}' has values outside its {array.sides[0]:,} rows")
    return csc_array((values_Z[:count], used_Z, starts_C), shape=array.sides)


def _unpack(form: str, data: bytes | memoryview) -> tuple[Any, ...]:
    if len(data) != struct.calcsize(form):
        raise ValueError("it ends early")
    return struct.unpack(form, data)
