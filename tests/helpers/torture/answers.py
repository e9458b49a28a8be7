"""What a command answers to a changed file: tried in forked children, which a crash or an endless loop ends."""

from __future__ import annotations

import io
import json
import math
import os
import resource
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from typing import Any, TypeVar

from lorkit.cli.main import run_command_line

REFUSED = (2, 4)
"""Exit codes of a refusal."""
LIMIT_S, MEMORY = 60, 8 * 2**30
_CLOSE = 1e-4  # of a probability or logit: what `verify` allows is far below
_IDENTITY = ("digest", "sha256")
Item = TypeVar("Item")


@dataclass(frozen=True)
class Answer:
    """The exit code of a command, the values of its JSON document by their places, and its last line on stderr."""

    code: int
    values: dict[str, Any]
    line: str = ""

    def same(self, other: Answer, varying: frozenset[str] = frozenset()) -> bool:
        """Tell whether another answer says the same, apart from values that vary."""
        return self.code == other.code and not self.differing(other) - varying

    def differing(self, other: Answer) -> frozenset[str]:
        """Return the places of values that another answer has otherwise; the digest of what answered is none."""
        keys = {key for key in self.values.keys() | other.values.keys() if not key.endswith(_IDENTITY)}
        return frozenset(key for key in keys if not _equal(self.values.get(key), other.values.get(key)))


def ask(words: Sequence[str]) -> Answer:
    """Run a command with --json in this process."""
    told, said = io.StringIO(), io.StringIO()
    with redirect_stdout(told), redirect_stderr(said):
        code = run_command_line([*words, "--json"])
    lines = said.getvalue().strip().splitlines() or [""]
    try:
        return Answer(code, _flat(json.loads(told.getvalue() or "{}")), lines[-1][:300])
    except ValueError:
        return Answer(code, {"": told.getvalue()}, "no JSON document on stdout")


def each_in_children(items: Sequence[Item], judge: Callable[[Item], str], *, batch: int = 25) -> list[tuple[Item, str]]:
    """Return what `judge` says of each item, in children that take several one after another; "" is good.

    A child that crashes or needs longer than a minute for an item ends; the others are judged in the next child.
    """
    found: list[tuple[Item, str]] = []
    while len(found) < len(items):
        part = items[len(found) : len(found) + batch]
        said, status = _judged(part, judge)
        found += zip(part, said, strict=False)
        if len(said) < len(part):
            found.append((part[len(said)], f"ended its process with {status}"))
    return found


def _judged(items: Sequence[Item], judge: Callable[[Item], str]) -> tuple[list[str], int]:
    reading, writing = os.pipe()
    process = os.fork()
    if not process:
        os.close(reading)
        try:
            _judge_all(items, judge, writing)
        finally:
            os._exit(1)
    os.close(writing)
    with os.fdopen(reading, encoding="utf-8") as stream:
        said = [json.loads(line) for line in stream if line.endswith("\n")]
    _, status = os.waitpid(process, 0)
    return said, os.waitstatus_to_exitcode(status)


def _judge_all(items: Sequence[Item], judge: Callable[[Item], str], writing: int) -> None:
    null = os.open(os.devnull, os.O_WRONLY)
    for one in (1, 2):
        os.dup2(null, one)
    sys.stdout, sys.stderr = (os.fdopen(one, "w", closefd=False) for one in (1, 2))
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    for item in items:
        signal.alarm(LIMIT_S)
        try:
            said = judge(item)
        except BaseException as error:  # whatever it is, it is the finding
            said = f"{type(error).__name__}: {error}"[:300]
        signal.alarm(0)
        os.write(writing, (json.dumps(said) + "\n").encode())


def _flat(value: Any, place: str = "") -> dict[str, Any]:
    if isinstance(value, dict):
        return {key: one for name, below in value.items() for key, one in _flat(below, f"{place}/{name}").items()}
    if isinstance(value, list):
        return {key: one for at, below in enumerate(value) for key, one in _flat(below, f"{place}/{at}").items()}
    return {place: value}


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=_CLOSE, abs_tol=_CLOSE)
    return bool(one == other)
