"""Variables of MAT files: as scipy reads intact ones, and one error for every damaged one."""

from __future__ import annotations

import random
import struct
import time
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mutations import mutations
from scipy.io import loadmat, savemat
from scipy.sparse import csc_matrix, issparse, random_array
from torture.answers import each_in_children

from lorkit.decompose.data.formats import limits, matlab
from lorkit.decompose.data.formats.matlab import Unread, read_variables
from lorkit.decompose.errors import DataError

RNG = np.random.default_rng(3)
TYPES = ("f8", "f4", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "?")
VALUES: dict[str, Any] = {
    **{f"of_{kind.strip('?') or 'bool'}": (RNG.random((3, 4)) * 100).astype(kind) for kind in TYPES},
    "one": 4.5,
    "none": np.zeros((0, 3)),
    "cube": RNG.random((2, 3, 4)),
    "row": np.arange(5),
    "words": np.array(["real ", "spam", "ä"]),
    "sparse": csc_matrix(random_array((6, 5), density=0.4, rng=np.random.default_rng(1))),
    "empty": csc_matrix((3, 7)),
    "sparse_bool": csc_matrix(np.eye(3, dtype=bool)),
}


def written(path: Path, values: dict[str, Any], **options: Any) -> Path:
    savemat(path, values, **options)
    return path


def element(kind: int, data: bytes, order: str = "<") -> bytes:
    return struct.pack(f"{order}II", kind, len(data)) + data + bytes(-len(data) % 8)


def variable(name: str, kind: int, sides: tuple[int, ...], *values: bytes, order: str = "<") -> bytes:
    head = [struct.pack(f"{order}II", kind, 0), struct.pack(f"{order}{len(sides)}i", *sides), name.encode()]
    parts = [element(at, one, order) for at, one in zip((6, 5, 1), head, strict=True)]
    return element(14, b"".join((*parts, *values)), order)


def file(path: Path, *variables: bytes, order: str = "<") -> Path:
    head = b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack(f"{order}H", 0x0100) + (b"IM" if order == "<" else b"MI")
    path.write_bytes(head + b"".join(variables))
    return path


def compressed(data: bytes) -> bytes:
    small = zlib.compress(data)
    return struct.pack("<II", 15, len(small)) + small


def everything(path: Path) -> dict[str, Any]:
    return read_variables(path, lambda name: True)


@pytest.mark.parametrize("compress", [False, True])
def test_intact_variables_are_what_scipy_reads(tmp_path: Path, compress: bool) -> None:
    path = written(tmp_path / "a.mat", VALUES, do_compression=compress)
    found = everything(path)
    assert list(found) == list(VALUES)
    for name, expected in ((name, loadmat(path)[name]) for name in VALUES):
        assert issparse(found[name]) == issparse(expected), name
        assert (found[name].dtype, found[name].shape) == (expected.dtype, expected.shape), name
        one, other = (value.toarray() if issparse(value) else value for value in (found[name], expected))
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("order", ["<", ">"])
def test_both_orders_of_bytes_and_spare_room(tmp_path: Path, order: str) -> None:
    numbers = np.arange(6, dtype=f"{order}f8")
    rows, starts = (np.array(values, dtype=f"{order}i4").tobytes() for values in ([2, 0, 9, 9], [0, 1, 2]))
    path = file(
        tmp_path / "a.mat",
        variable("dense", 6, (2, 3), element(9, numbers.tobytes(), order), order=order),
        variable("spare", 5, (3, 2), *(element(kind, data, order) for kind, data in ((5, rows), (5, starts), (9,
                 numbers[:4].tobytes()))), order=order),
        order=order,
    )  # fmt: skip
    found, expected = everything(path), loadmat(path)
    assert found["dense"].dtype.isnative
    assert found["dense"].tolist() == expected["dense"].tolist() == [[0, 2, 4], [1, 3, 5]]
    assert found["spare"].toarray().tolist() == [[0, 1], [0, 0], [0, 0]]


def test_what_is_not_wanted_or_no_matrix_is_named(tmp_path: Path) -> None:
    values = {"a": np.eye(2), "b": np.array([[1, "x"]], dtype=object), "c": {"d": 1}, "e": np.eye(2) * 1j, "f": [1]}
    found = read_variables(written(tmp_path / "a.mat", values), lambda name: name != "f")
    assert isinstance(found.pop("a"), np.ndarray)
    said = ["a cell array", "a struct", "an array of complex numbers", "not wanted"]
    assert [value.what for value in found.values() if isinstance(value, Unread)] == said


def test_cells_in_cells_are_not_entered(tmp_path: Path) -> None:
    deep = b""
    for _ in range(5_000):
        deep = variable("", 1, (1, 1), deep)
    found = everything(file(tmp_path / "a.mat", compressed(variable("x", 1, (1, 1), deep))))
    assert found == {"x": Unread("a cell array")}


NUMBERS = element(9, bytes(32))


def changed_byte(at: int, value: int) -> bytes:
    """Return a variable with another byte in its tags: the flags begin at 8, the shape at 24, the name at 40."""
    data = bytearray(variable("x", 6, (2, 2), NUMBERS))
    assert data[at] != value
    data[at] = value
    return bytes(data)


WHOLE = compressed(variable("x", 6, (2, 2), NUMBERS))
INDICES = [element(5, struct.pack("<2i", 0, 1)), element(5, struct.pack("<3i", 0, 1, 2)), element(9, bytes(16))]
WRONG: dict[str, tuple[bytes, str]] = {
    "more sides than values": (variable("x", 6, (2, 3), NUMBERS), r"4 values and the shape \(2, 3\)"),
    "a negative side": (variable("x", 6, (-2, -2), NUMBERS), "negative side"),
    "a huge side": (variable("x", 6, (2**31 - 1,) * 32, NUMBERS), "4 values and the shape"),
    "too many sides": (variable("x", 6, (1,) * 33, NUMBERS), "without its shape"),
    "an unknown kind": (variable("x", 99, (2, 2), NUMBERS), "unknown kind 99"),
    "an unknown type": (variable("x", 6, (2, 2), element(99, bytes(32))), "values of type 99"),
    "a huge element": (variable("x", 6, (2, 2), struct.pack("<II", 9, 2**31)), "2,147,483,648 bytes where 0"),
    "an odd size": (variable("x", 6, (1, 1), element(9, bytes(9))), "multiple of element size"),
    "a small element that is none": (variable("x", 6, (1, 1), struct.pack("<II", 9 | 8 << 16, 0)), "8 bytes within"),
    "no values": (variable("x", 6, (2, 2)), "ends early"),
    "columns that go back": (variable("x", 5, (3, 2), INDICES[0], element(5, struct.pack("<3i", 0, 2, 1)), INDICES[2]),
                             "begin outside"),
    "a first column later": (variable("x", 5, (3, 2), INDICES[0], element(5, struct.pack("<3i", 1, 1, 2)), INDICES[2]),
                             "begin outside"),
    "more columns": (variable("x", 5, (3, 9), *INDICES), "3 starts of columns"),
    "values outside the rows": (variable("x", 5, (1, 2), *INDICES), "outside its 1 rows"),
    "fewer values": (variable("x", 5, (3, 2), *INDICES[:2], element(9, bytes(8))), "begin outside its 1 values"),
    "indices that are no whole numbers": (variable("x", 5, (3, 2), element(9, bytes(16)), *INDICES[1:]), "starts of"),
    "letters for another shape": (variable("x", 4, (2, 2), element(16, b"abc")), r"3 letters and the shape \(2, 2\)"),
    "bytes that are no letters": (variable("x", 4, (1, 1), element(16, b"\xff")), "Unicode"),
    "two of a name": (2 * variable("x", 6, (2, 2), NUMBERS), "two variables 'x'"),
    "no variable": (element(9, bytes(8)), "of type 9"),
    "an empty variable": (struct.pack("<II", 14, 0), "variable of 0 bytes"),
    "half a tag": (b"\x0e\0\0", "ends early"),
    "half a variable": (variable("x", 6, (2, 2), NUMBERS)[:-9], "are left"),
    "a stream that ends early": (compressed(variable("x", 6, (2, 2), NUMBERS)[:-8]), "states"),
    "a stream that goes on": (compressed(variable("x", 6, (2, 2), NUMBERS) + bytes(8)), "states"),
    "a stream of another type": (compressed(b"\x0d" + variable("x", 6, (2, 2), NUMBERS)[1:]), "'x' is of type 13"),
    "a stream without its checksum": (struct.pack("<II", 15, len(WHOLE) - 12) + WHOLE[8:-4], "states"),
    "flags of another type": (changed_byte(8, 5), "without its kind"),
    "a shape of another type": (changed_byte(24, 6), "without its shape"),
    "a shape of seven bytes": (changed_byte(28, 9), "without its shape"),
    "a name of another type": (changed_byte(40, 2), "without its name"),
    "a long name": (variable("x" * 4097, 6, (2, 2), NUMBERS), "without its name"),
    "no stream": (struct.pack("<II", 15, 8) + b"12345678", "incorrect header"),
    "a stream in a stream": (compressed(compressed(variable("x", 6, (2, 2), NUMBERS))), "within four"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_what_does_not_fit_is_refused(name: str, tmp_path: Path) -> None:
    data, said = WRONG[name]
    with pytest.raises(DataError, match=rf"a\.mat cannot be read .*{said}.*required: an intact \.mat file"):
        everything(file(tmp_path / "a.mat", data))


def test_no_more_is_inflated_than_is_stated(tmp_path: Path) -> None:
    bomb = compressed(variable("x", 6, (2, 2), NUMBERS) + bytes(2**25))
    tracemalloc.start()
    with pytest.raises(DataError, match="states"):
        everything(file(tmp_path / "a.mat", bomb))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**21


def test_many_variables_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matlab, "MOST_VARIABLES", 20)
    path = file(tmp_path / "a.mat", *(variable(f"x{at}", 6, (0, 0), element(9, b"")) for at in range(21)))
    with pytest.raises(DataError, match="more than 20 variables"):
        everything(path)


def test_what_is_larger_than_memory_is_refused_before_it_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = compressed(variable("x", 6, (1000, 1000), element(9, bytes(8_000_000))))
    everything(file(tmp_path / "a.mat", large))
    monkeypatch.setattr(limits, "free_bytes", lambda: 4_000_000)
    with pytest.raises(DataError, match="GiB for 'x'; required: at most"):
        everything(tmp_path / "a.mat")
    with pytest.raises(DataError, match="GiB for a variable; required: at most"):
        everything(file(tmp_path / "b.mat", variable("x", 6, (1000, 1000), element(9, bytes(8_000_000)))))


def inside(data: bytes, change: Callable[[bytes], bytes], *, at: int, keep_size: bool, compress: bool) -> bytes:
    """Return a compressed file with one variable changed; sizes of the change are stated anew unless kept."""
    parts, place = [], 128
    while place < len(data):
        size = struct.unpack("<II", data[place : place + 8])[1]
        parts.append(zlib.decompress(data[place + 8 : place + 8 + size]))
        place += 8 + size
    changed = change(parts[at % len(parts)])
    if not keep_size and len(changed) >= 8:
        changed = changed[:4] + struct.pack("<I", len(changed) - 8) + changed[8:]
    parts[at % len(parts)] = changed
    return data[:128] + b"".join(compressed(part) if compress else part for part in parts)


def changes(data: bytes, seed: int, count: int) -> list[bytes]:
    """Return files changed outside and inside of their variables."""
    found, rng = [changed for _, changed in mutations(data, seed=seed, count=count // 3)], random.Random(seed)
    for index in range(count - len(found)):
        one = rng.randrange(2**32)
        change = lambda part, one=one, index=index: list(mutations(part, seed=one, count=index % 9 + 1))[-1][1]  # noqa: E731
        found.append(inside(data, change, at=rng.randrange(9), keep_size=rng.random() < 0.2, compress=index % 2 == 0))  # type: ignore[arg-type]
    return found


def test_changed_files_are_read_or_refused_and_never_end_the_process(tmp_path: Path) -> None:
    path = written(tmp_path / "a.mat", VALUES, do_compression=True)

    def judge(data: bytes) -> str:
        path.write_bytes(data)
        started = time.process_time()
        try:
            for value in everything(path).values():
                if issparse(value):  # as a reader of graphs uses it, in native code
                    value.tocsr().toarray()
        except DataError:
            pass
        return "" if time.process_time() - started < 2 else "slow"

    assert [said for _, said in each_in_children(changes(path.read_bytes(), 23, 300), judge, batch=200) if said] == []
