"""What stands at the top of an ONNX file, read from protobuf's wire format without importing onnx.

A prediction compares a file's metadata with its description; onnx takes longer to import, and to read all weights, than
the prediction itself. Source: https://protobuf.dev/programming-guides/encoding and the field numbers of onnx.proto.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_GRAPH, _METADATA = 7, 14  # of a ModelProto
_NODE, _INITIALIZER = 1, 5  # of a GraphProto
_KEY, _VALUE = 1, 2  # of an entry of the metadata
_NUMBERS = frozenset({4, 5, 7, 9, 10, 11})
"""Fields of a TensorProto that hold its values."""
_LOCATION = b"location"
"""The key under which a tensor names a file of weights, wherever in the file the tensor is."""
_LARGEST_VARINT = 10
_BYTES = 2
_LENGTHS = {0: None, 1: 8, _BYTES: None, 5: 4}
"""Bytes of a value by wire type; None where they say it themselves."""


class TopLevel(NamedTuple):
    """The metadata of an ONNX file and its number of nodes, those of branches not counted."""

    metadata: dict[str, str]
    nodes: int


def read_top_level(path: Path) -> TopLevel | None:
    """Read the metadata and count the nodes of an ONNX file; None where onnx has to read it.

    That is a file that may have weights in other files, or one that does not look like an ONNX file from here.
    """
    try:
        with path.open("rb") as stream:
            return _model(stream, stream.seek(0, io.SEEK_END))
    except (ValueError, EOFError):
        return None


def _model(stream: io.BufferedReader, end: int) -> TopLevel | None:
    metadata, nodes = dict[str, str](), 0
    for number, start, stop in _fields(stream, 0, end):
        if number == _GRAPH:
            for inner, first, last in _fields(stream, start, stop):
                nodes += inner == _NODE
                if _names_files(stream, inner, first, last):
                    return None
        elif number == _METADATA:
            entry = {key: _read(stream, at, to).decode() for key, at, to in _fields(stream, start, stop)}
            metadata[entry.get(_KEY, "")] = entry.get(_VALUE, "")
        elif _LOCATION in _read(stream, start, stop):
            return None
    return TopLevel(metadata, nodes)


def _names_files(stream: io.BufferedReader, number: int, start: int, stop: int) -> bool:
    """Return whether a field of the graph may name a file of weights; the numbers of initializers are not read."""
    if number != _INITIALIZER:
        return _LOCATION in _read(stream, start, stop)
    inside = _fields(stream, start, stop)
    return any(_LOCATION in _read(stream, at, to) for field, at, to in inside if field not in _NUMBERS)


def _fields(stream: io.BufferedReader, start: int, stop: int) -> Iterator[tuple[int, int, int]]:
    """Yield number, start and end of each field of a message that is text, bytes or a message.

    Raises:
        ValueError: The bytes are not those of a message.
        EOFError: They end early.
    """
    while start < stop:
        stream.seek(start)
        number, kind = divmod(_varint(stream), 8)
        if kind not in _LENGTHS:
            raise ValueError(f"wire type {kind}")
        length = _LENGTHS[kind]
        if length is None:
            value = _varint(stream)
            length = value if kind == _BYTES else 0
        begin = stream.tell()
        start = begin + length
        if start > stop:
            raise EOFError
        if kind == _BYTES:
            yield number, begin, start


def _varint(stream: io.BufferedReader) -> int:
    value = 0
    for place in range(_LARGEST_VARINT):
        read = stream.read(1)
        if not read:
            raise EOFError
        byte = read[0]
        value |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            return value
    raise ValueError("a number of more than 64 bits")


def _read(stream: io.BufferedReader, start: int, stop: int) -> bytes:
    stream.seek(start)
    return stream.read(stop - start)
