"""Keep standard output for results; everything else is written to standard error."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from lorkit.decompose.documents.base import Document

_results: list[TextIO] = []
_documents: list[bool] = []


@contextmanager
def results_only(*, document: bool = False) -> Iterator[None]:
    """Redirect the output of libraries to stderr, also at the file descriptor; results still use stdout.

    Exporters and engine builders print to stdout from Python and from C++, which would break `--json`.

    Args:
        document: Whether stdout is for one JSON document: tables then go to stderr.
    """
    _documents.append(document)
    try:
        with _redirected():
            yield
    finally:
        _documents.pop()


@contextmanager
def _redirected() -> Iterator[None]:
    real = sys.stdout
    descriptor = _descriptor(real)
    if descriptor is None or _descriptor(sys.stderr) is None:
        _results.append(real)
        try:
            with redirect_stdout(sys.stderr):
                yield
        finally:
            _results.pop()
        return
    real.flush()
    saved = os.dup(descriptor)
    os.dup2(sys.stderr.fileno(), descriptor)
    stream = os.fdopen(os.dup(saved), "w", encoding="utf-8")
    _results.append(stream)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        _results.pop()
        with suppress(BrokenPipeError):
            stream.close()
        os.dup2(saved, descriptor)
        os.close(saved)


def open_closed_streams() -> None:
    """Open closed standard streams (`>&-`) on the null device.

    Otherwise the next opened file would get the number of the stream, and the process would end with 1, which is a
    verdict.
    """
    for descriptor, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(descriptor)
        except OSError:
            nowhere = os.open(os.devnull, os.O_RDWR)
            if nowhere != descriptor:
                os.dup2(nowhere, descriptor)
                os.close(nowhere)
        if getattr(sys, name) is None:
            setattr(sys, name, open(descriptor, mode, encoding="utf-8", closefd=False))  # noqa: SIM115 - for as long as the process lives


def print_result(line: str) -> bool:
    """Print a line of the result (the path of what was made, a prediction) on stdout; False if nobody reads it."""
    return _write(f"{line}\n", _stdout())


def print_sheet(text: str, stream: TextIO) -> None:
    """Print a table, or lines that explain it."""
    _write(text, stream)


def sheet_stream() -> TextIO:
    """Return where the tables of results go: stdout, or stderr beside a JSON document."""
    return sys.stderr if _documents and _documents[-1] else _stdout()


def is_interactive() -> bool:
    """Return whether a person reads both stdout and stderr, and stdout is not for a JSON document."""
    return sheet_stream() is not sys.stderr and _stdout().isatty() and sys.stderr.isatty()


def print_json(document: Document) -> None:
    """Print the JSON document of a command, which has a schema."""
    text = json.dumps(document.to_json(), indent=2, ensure_ascii=False, allow_nan=False)
    _write(f"{text}\n", _stdout())


def print_status(line: str) -> None:
    """Print a line for people on stderr."""
    if not shares_terminal():
        print_error(line)


def print_error(line: str) -> None:
    """Print the line of an error on stderr; also one of several processes says why it ended."""
    print(line, file=sys.stderr, flush=True)


def shares_terminal() -> bool:
    """Return whether another process of this machine prints the results: one of those that train together does."""
    return os.environ.get("LOCAL_RANK", "0") != "0"


def _stdout() -> TextIO:
    return _results[-1] if _results else sys.stdout


def _write(text: str, stream: TextIO) -> bool:
    if shares_terminal():
        return True
    try:
        print(text, end="", file=stream, flush=True)
        return True
    except BrokenPipeError:
        # the reader has closed the pipe (`| head`): discard later writes, also at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        return False


def _descriptor(stream: Any) -> int | None:
    try:
        return int(stream.fileno())
    except (AttributeError, OSError, io.UnsupportedOperation):
        return None
