"""YAML of untrusted origin: plain data, each key once, and no more of it than a configuration can need.

A first pass counts what a text holds, before anything is built: a few bytes can state very much (aliases of aliases),
and 100,000 keys would take minutes.
"""

from __future__ import annotations

import os
import select
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lorkit.decompose.errors import UsageError, first_line, refuse_special

MOST_BYTES = 64 * 2**20
MOST_KEYS = 10_000
"""Keys of one section."""
MOST_NODES = 500_000
"""Keys and values of a file: the quantiles of a thousand features of a graph are a quarter of it."""
MOST_ALIASED = 100_000
"""Of these, such that aliases repeat."""
DEEPEST = 50
"""Sections in each other."""
MOST_DIGITS = 400
"""Of a number: the largest float has 309."""
_LONGEST = 10_000
"""Letters of a text."""
PIPE_SECONDS = 15.0
"""For which a pipe is read."""
_FAST: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Plain(_FAST):  # type: ignore[misc]
    """Safe loader that refuses duplicate keys, of which plain YAML silently keeps the last."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        """Build a mapping after checking its keys."""
        found = set()
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(None, None, "a key that is no text", key_node.start_mark)
            key = self.construct_object(key_node, deep=True)
            if key in found:
                raise yaml.constructor.ConstructorError(None, None, f"key '{key}' is repeated", node.start_mark)
            found.add(key)
        mapping: dict[Any, Any] = super().construct_mapping(node, deep=deep)
        return mapping


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a mapping of settings from a file, or from a pipe such as `<(...)` of a shell.

    Raises:
        UsageError: The file is missing, no UTF-8 text, no YAML, larger than the limits of this module, no mapping, a
            socket or a device, or a pipe whose text does not end in time.
    """
    try:
        data = _of_pipe(path) if path.is_fifo() else _of_file(path)
        if len(data) > MOST_BYTES:
            raise _too_much(str(path), f"more than {MOST_BYTES} bytes", f"at most {MOST_BYTES}")
        text = data.decode("utf-8")
    except FileNotFoundError:
        raise UsageError(
            f"no configuration at {path}", required="a YAML file", fix="write one with `decompose init`"
        ) from None
    except UnicodeDecodeError:
        raise UsageError(f"{path} is not text", required="UTF-8 YAML", fix="name a configuration file") from None
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read ({error.strerror})", required="a YAML file", fix="name a configuration file"
        ) from None
    document = parse_yaml(text, str(path))
    if not isinstance(document, dict):
        raise UsageError(f"{path} holds {type(document).__name__}", required="a mapping of settings", fix="see `init`")
    return document


def _of_file(path: Path) -> bytes:
    refuse_special(path, kind=UsageError)
    with path.open("rb") as stream:
        return stream.read(MOST_BYTES + 1)


def _of_pipe(path: Path) -> bytes:
    """Return what a pipe gives until its writer closes it; nobody may ever write to it, or never stop."""
    end, data = time.monotonic() + PIPE_SECONDS, bytearray()
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # otherwise the system waits for a writer
    try:
        while len(data) <= MOST_BYTES:
            left = end - time.monotonic()
            if left <= 0 or not select.select([descriptor], [], [], left)[0]:
                raise UsageError(
                    f"{path} is a pipe whose text did not end within {PIPE_SECONDS:g} s",
                    required="a file, or a pipe whose writer ends",
                    fix="write the configuration to a file, and name that",
                )
            if not (part := os.read(descriptor, 1 << 16)):
                break
            data += part
    finally:
        os.close(descriptor)
    return bytes(data)


def parse_yaml(text: str, where: str) -> Any:
    """Return the plain data of a YAML text.

    Args:
        text: The text.
        where: Its file or option, for messages.

    Raises:
        UsageError: It is no YAML of plain data, repeats a key, or is larger than the limits of this module.
    """
    try:
        _check_amount(text, where)
        return yaml.load(text, Loader=_Plain)  # a safe loader: plain data only
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{where}:{mark.line + 1}" if mark else where
        problem = getattr(error, "problem", None) or "not readable"
        raise UsageError(f"{place}: {problem}", required="valid YAML", fix="correct that line") from None
    except (ValueError, TypeError, OverflowError, RecursionError) as error:  # dates, numbers and keys that are none
        raise UsageError(f"{where}: {first_line(error)}", required="valid YAML", fix="correct that value") from None


@dataclass
class _Opened:
    """A mapping or list whose end has not come yet, and how many nodes there were before it."""

    is_mapping: bool
    anchor: str | None
    before: int
    members: int = 0


def _check_amount(text: str, where: str) -> None:
    """Refuse a text that states more than a configuration needs, by its events alone."""
    opened: list[_Opened] = []
    sizes: dict[str, int] = {}
    nodes = aliased = 0
    for event in yaml.parse(text, Loader=_FAST):
        place = f"{where}:{event.start_mark.line + 1}" if event.start_mark else where
        if isinstance(event, yaml.CollectionEndEvent):
            closed = opened.pop()
            if closed.anchor is not None:
                sizes[closed.anchor] = nodes + aliased - closed.before
            continue
        if not isinstance(event, yaml.NodeEvent):
            continue
        nodes += 1
        if opened and opened[-1].is_mapping:
            opened[-1].members += 1
            if opened[-1].members > 2 * MOST_KEYS:
                raise _too_much(place, f"more than {MOST_KEYS} keys in one section", f"at most {MOST_KEYS}")
        if isinstance(event, yaml.AliasEvent):
            if any(one.anchor == event.anchor for one in opened):
                raise _too_much(place, f"*{event.anchor} inside what it names", "values that end")
            aliased += sizes.get(str(event.anchor), 1)
        elif isinstance(event, yaml.CollectionStartEvent):
            opened.append(_Opened(isinstance(event, yaml.MappingStartEvent), event.anchor, nodes + aliased))
        elif isinstance(event, yaml.ScalarEvent):
            _check_scalar(event.value, place)
        for count, most, what in ((nodes, MOST_NODES, "values"), (aliased, MOST_ALIASED, "values by aliases"),
                                  (len(opened), DEEPEST, "sections in each other")):  # fmt: skip
            if count > most:
                raise _too_much(place, f"more than {most} {what}", f"at most {most}")


def _check_scalar(value: str, place: str) -> None:
    if len(value) <= MOST_DIGITS:
        return
    number = value.strip().lstrip("+-").replace("_", "")
    if number[:1].isdigit() and all(sign in "0123456789abcdefox.:" for sign in number.lower()):
        raise _too_much(place, f"a number of {len(number)} digits", f"at most {MOST_DIGITS}")
    if len(value) > _LONGEST:
        raise _too_much(place, f"a text of {len(value)} letters", f"at most {_LONGEST}")


def _too_much(place: str, given: str, required: str) -> UsageError:
    return UsageError(f"{place}: {given}", required=required, fix="check whether it is a configuration")
