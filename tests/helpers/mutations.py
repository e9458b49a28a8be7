"""Seeded changes of the bytes of a file, for tests and for `benchmarks/torture.py`.

A mutation is a name and the changed bytes. The same data, seed and number give the same mutations.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Iterator
from typing import Any

Change = Callable[[random.Random, bytes], bytes]
_DIGITS = 10_000
_EXTREMES = (b"\x00", b"\xff", b"\x7f", b"\x80", b"\x01")
_HEAD = 512  # bytes, where formats keep their headers
_NUMBER = re.compile(rb"-?\d+(?:\.\d+)?")
_NUMBERS = (b"9" * _DIGITS, b"-1", b"NaN", b"1e999", b"0", b"1" + b"0" * 19, b"null", b"[]", b'"\xff"')


def mutations(data: bytes, *, seed: int, count: int, text: bool = False) -> Iterator[tuple[str, bytes]]:
    """Yield `count` changed copies of a file, each with the name of its change.

    Args:
        data: The intact file.
        seed: Of the changes.
        count: Number of copies.
        text: Also change numbers and letters as text has them.
    """
    changes = {**BYTES, **(TEXTS if text else {})}
    names = sorted(changes)
    rng = random.Random(seed)
    for index in range(count):
        name = names[index % len(names)]
        yield f"{name}-{seed}-{index}", changes[name](rng, data)


def _place(rng: random.Random, data: bytes) -> int:
    """Choose a byte; half of them in the first ones, where headers are."""
    most = len(data) if rng.random() < 0.5 else min(_HEAD, len(data))
    return rng.randrange(max(1, most))


def _flip(rng: random.Random, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 4, 16))):
        if changed:
            changed[_place(rng, data)] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _replace(rng: random.Random, data: bytes) -> bytes:
    at, width = _place(rng, data), rng.choice((1, 2, 4, 8))
    return data[:at] + (rng.choice(_EXTREMES) * width)[: len(data) - at] + data[at + width :]


def _truncate(rng: random.Random, data: bytes) -> bytes:
    return data[: _place(rng, data)]


def _tail(rng: random.Random, data: bytes) -> bytes:
    return data[_place(rng, data) :]


def _insert(rng: random.Random, data: bytes) -> bytes:
    at = _place(rng, data)
    return data[:at] + rng.randbytes(rng.choice((1, 4, 64))) + data[at:]


def _repeat(rng: random.Random, data: bytes) -> bytes:
    at, other = sorted((_place(rng, data), _place(rng, data)))
    return data[:other] + data[at:other] + data[other:]


def _remove(rng: random.Random, data: bytes) -> bytes:
    at = _place(rng, data)
    return data[:at] + data[at + rng.choice((1, 2, 4, 16, 256)) :]


def _zeros(rng: random.Random, data: bytes) -> bytes:
    at, width = _place(rng, data), rng.choice((4, 64, 1024))
    return data[:at] + bytes(min(width, len(data) - at)) + data[at + width :]


def _empty(rng: random.Random, data: bytes) -> bytes:
    return b"" if rng.random() < 0.3 else rng.randbytes(rng.choice((1, 8, 400)))


def _number(rng: random.Random, data: bytes) -> bytes:
    found = list(_NUMBER.finditer(data))
    if not found:
        return data + rng.choice(_NUMBERS)
    one = rng.choice(found)
    return data[: one.start()] + rng.choice(_NUMBERS) + data[one.end() :]


def _letters(rng: random.Random, data: bytes) -> bytes:
    at = _place(rng, data)
    return data[:at] + rng.choice((b"\xff\xfe", b"\xed\xa0\x80", b"\x00", b"\r", b'"', b"\xef\xbb\xbf")) + data[at:]


def _nesting(rng: random.Random, data: bytes) -> bytes:
    at, sign = _place(rng, data), rng.choice((b"[", b"{", b'{"a":'))
    return data[:at] + sign * rng.choice((50, 5_000)) + data[at:]


BYTES: dict[str, Change] = {
    "flip": _flip, "replace": _replace, "truncate": _truncate, "tail": _tail, "insert": _insert, "repeat": _repeat,
    "remove": _remove, "zeros": _zeros, "empty": _empty,
}  # fmt: skip
"""Changes of any file."""
TEXTS: dict[str, Change] = {"number": _number, "letters": _letters, "nesting": _nesting}
"""Changes of a file of text."""


def document_changes(data: bytes, *, seed: int, count: int) -> Iterator[tuple[str, bytes]]:
    """Yield `count` copies of a JSON document, each well-formed and with one value that is another."""
    rng = random.Random(seed)
    for index in range(count):
        document = json.loads(data)
        places = list(_places(document))
        if not places:
            return
        holder, key = rng.choice(places)
        holder[key] = _another(rng, holder[key])
        yield f"document-{seed}-{index}-{key}", json.dumps(document).encode()


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield each value below a JSON value, as what holds it and its key."""
    for key, below in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield value, key
        yield from _places(below)


def _another(rng: random.Random, value: Any) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return rng.choice((value + 1, value * 2, value * 1.01, -value - 1, 0 if value else 1, 1e300))
    if isinstance(value, str):
        return rng.choice((value[::-1], value + "x", "", value[:-1], "../" + value))
    if isinstance(value, list) and len(value) > 1:
        return rng.choice((value[::-1], value[1:], value + value))
    return rng.choice((None, [], {}, 1, "x"))
