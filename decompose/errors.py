"""Errors: one root class, and an exit code for each kind of error.

A message is one line of three parts: what was given, what is required, what to do. Only the command line turns an error
into text and an exit code.
"""

from __future__ import annotations

import contextlib
import difflib
import errno
import functools
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar, cast

F = TypeVar("F", bound=Callable[..., Any])
_FAILING = (errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.ESTALE)  # of the disk, not of a file
_SPECIAL = {stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device"}
_LONGEST = 1000  # characters of a part of a message: names in damaged files can have any length

_SUFFIXES = (
    "png|jpe?g|bmp|tiff?|webp|gif|dcm|dicom|ima|nii|nii\\.gz|nrrd|mha|mhd|img|hdr|gz|npz|npy|csv|tsv|txt|jsonl?|mat|h5|"
    "parquet|arrow|pkl|zip|tar|onnx|pt2?|pth|safetensors|xml|bin|engine|plan|ya?ml|py|so|dll"
)
_PLACE = (
    rf"(?i)(?<![\w:/\\])(?:~|\.{{1,2}}|[a-z]:)?(?:[\\/][^\s\\/'\"`,;:()]+)+[\\/]?"  # from a root
    rf"|[^\s\\/'\"`,;:()]+(?:[\\/][^\s\\/'\"`,;:()]+){{2,}}[\\/]?"  # three parts or more
    rf"|(?:[^\s'\"`,;:()]+[\\/])?[^\s\\/'\"`,;:()]+\.(?:{_SUFFIXES})(?![\w])"
)
_QUOTED = r"(['\"`])([^'\"`]*)\1"
_SUBJECT = r"\b([Ss]ample|[Ii]mage|[Cc]ase|[Pp]atient|[Gg]roup|[Ss]tudy|[Ss]eries|[Rr]ow|[Nn]ode) '[^']*'"


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
        super().__init__("; ".join(_on_one_line(part) for part in parts if part))


class UsageError(LorkitError):
    """A wrong option or configuration, or an unknown region, target, profile or run."""

    exit_code = 2


class DataError(LorkitError):
    """Images, labels or splits that cannot be used."""

    exit_code = 4


class MissingDataError(DataError):
    """A file or directory that was named by the user and is not there."""

    exit_code = 2


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


def refuse_special(path: Path | str, *, kind: type[LorkitError] = DataError) -> None:
    """Raise the error for a pipe, socket or device: to read one may wait for ever, or have no end.

    Files, directories and paths at which nothing is are left to the reader.
    """
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):  # the reader says why
        return
    if (what := _SPECIAL.get(stat.S_IFMT(mode))) is not None:
        raise kind(f"{path} is {what}", required="a file", fix="write what it gives to a file, and name that")


@contextlib.contextmanager
def refusing_damage(
    path: Path | str,
    *,
    required: str,
    fix: str = "replace it or leave it out",
    said: str = "cannot be read",
    kind: type[LorkitError] = DataError,
) -> Iterator[None]:
    """Turn whatever a library raises while it reads a foreign file into one error that names the file.

    Every reader has this boundary, here or as `reads`: bytes of others lead libraries to any exception. The cause stays
    in the traceback of `--debug`. Pipes, sockets and devices are refused before they are opened.

    Args:
        path: The file, for the message.
        required: What is accepted.
        fix: What the user can do.
        said: What is wrong with the file.
        kind: The error to raise.

    Raises:
        LorkitError: Of that kind, or as the block raised it.
        OSError: The disk fails.
    """
    refuse_special(path, kind=kind)
    try:
        yield
    except LorkitError:
        raise
    except FileNotFoundError as error:
        raise kind(f"no file at {path}", required=required, fix="check the path") from error
    except OSError as error:
        if error.errno in _FAILING:
            raise
        raise kind(f"{path} {said} ({error.strerror or first_line(error)})", required=required, fix=fix) from error
    except BaseException as error:  # a damaged file raises whatever its bytes lead to; panics of Rust are no Exception
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        name = type(error).__name__
        text = f"{name}: {first_line(error)}" if str(error).strip() else name
        raise kind(f"{path} {said} ({text})", required=required, fix=fix) from error


def reads(
    required: str,
    *,
    fix: str = "replace it or leave it out",
    said: str = "cannot be read",
    kind: type[LorkitError] = DataError,
) -> Callable[[F], F]:
    """Return a decorator of a function that reads the file of its first argument, with `refusing_damage` around it.

    Args:
        required: As `refusing_damage`, and the others too. Of a list of entries the first names the file.
        fix: As there.
        said: As there.
        kind: As there.
    """

    def decorate(read: F) -> F:
        @functools.wraps(read)
        def guarded(source: Any, /, *args: Any, **others: Any) -> Any:
            path = source[0] if isinstance(source, list) else source
            with refusing_damage(path, required=required, fix=fix, said=said, kind=kind):
                return read(source, *args, **others)

        return cast(F, guarded)

    return decorate


def _on_one_line(text: str) -> str:
    """Return a part of a message on one line, without signs that a terminal acts on, and not too long."""
    line = " ".join(text.split())
    if not line.isprintable():
        line = "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in line)
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 200]} ... {line[-180:]}"


_enders: list[Callable[[LorkitError], object]] = []


def let_end(end: Callable[[LorkitError], object]) -> None:
    """Have `end_process` end this process, by a function that reports an error; the command line does so."""
    _enders[:] = [end]


def end_process(error: LorkitError) -> None:
    """End a command with an error while its main thread is in native code, which no exception reaches.

    Returns in a program of the user's, which is not ended for one call.
    """
    for end in _enders:
        end(error)


def fit_for_artifact(error: BaseException | str) -> str:
    """Return an error's text as it may enter an artifact or a report: one line, which names no file and no patient.

    Files have the names of patients, and whole paths tell where a hospital keeps them. What was wrong stays.
    """
    text = " ".join(str(error).split()) or type(error).__name__
    place = re.compile(_PLACE)  # once, by its cache, and not where every command starts
    text = re.sub(_SUBJECT, r"\1 (name withheld)", text)
    text = re.sub(_QUOTED, lambda found: "a file" if place.search(found[2]) else found[0], text)
    return place.sub("a file", text)


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
