"""Errors: one root class, and an exit code for each kind of error.

A message is one line of three parts: what was given, what is required, what to do. Only the command line turns an error
into text and an exit code.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable


class LorkitError(Exception):
    """Base class of all errors that lorkit raises deliberately.

    Args:
        given: What was found, with the offending value.
        required: What is accepted.
        fix: What the user can do, as an imperative.
    """

    exit_code = 70

    def __init__(self, given: str, *, required: str = "", fix: str = "") -> None:
        self.given, self.required, self.fix = given, required, fix
        parts = [given, f"required: {required}" if required else "", fix]
        super().__init__("; ".join(" ".join(part.split()) for part in parts if part))


class UsageError(LorkitError):
    """A wrong option or configuration, or an unknown region, target, profile or run."""

    exit_code = 2


class DataError(LorkitError):
    """Images, labels or splits that cannot be used."""

    exit_code = 4


class ArtifactError(LorkitError):
    """A missing, damaged, foreign or tampered artifact directory, or a refused synthetic one."""

    exit_code = 4


class ParityError(LorkitError):
    """An extracted or exported network that does not reproduce its source."""

    exit_code = 4


class MissingRuntimeError(LorkitError):
    """A runtime or a device that is missing."""

    exit_code = 5


class StorageError(LorkitError):
    """A disk that is full, read-only or otherwise failing."""

    exit_code = 6


class BusyError(StorageError):
    """Something that another process is writing."""


def first_line(error: BaseException) -> str:
    """Return the first informative line of another library's message, shortened; else the error's type."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)[:160]


def plural(count: int, noun: str, *, plural: str = "") -> str:
    """Return a number with its noun, such as `1 case`, `1200 cases` and `2 classes`; `plural` as in `plural_of`."""
    return f"{count} {noun if count == 1 else plural or plural_of(noun)}"


def plural_of(noun: str) -> str:
    """Return `cases` of `case` and `entities` of `entity`."""
    return f"{noun[:-1]}ies" if re.search(r"[^aeiou]y$", noun) else f"{noun}s"


def unknown(kind: str, name: str, known: Iterable[str], *, fix: str | None = None) -> UsageError:
    """Return the error for an unknown name, which suggests the nearest known one, else `fix`, else its option."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1)
    fix = f"did you mean '{near[0]}'?" if near else fix or f"choose one of them with --{kind.split()[-1]}"
    return UsageError(f"unknown {kind} '{name}'", required=f"one of {', '.join(names) or '(none here)'}", fix=fix)
