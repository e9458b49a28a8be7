"""Keep standard output for results; everything else is written to standard error."""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from lorkit.decompose.documents.base import Document

_results: list[TextIO] = []
_documents: list[bool] = []
_lost: list[OSError] = []


class _Descriptor(io.FileIO):
    """A file descriptor of a standard stream that ends no command: what cannot be written is dropped.

    A full disk under a log, or a pipe whose reader has left, would otherwise raise in whatever prints next, also in the
    report of an error and at the exit of Python.
    """

    failed = False

    def __init__(self, descriptor: int, *, is_result: bool, closefd: bool) -> None:
        super().__init__(descriptor, "w", closefd=closefd)
        self.is_result = is_result

    def write(self, data: Any, /) -> int:
        """Write bytes; after the first failure, say that they were written."""
        if not self.failed:
            try:
                return super().write(data)
            except OSError as error:
                self.failed = True
                if self.is_result:
                    _lost.append(error)
        return memoryview(data).nbytes


@contextmanager
def results_only(*, document: bool = False) -> Iterator[None]:
    """Redirect the output of libraries to stderr, also at the file descriptor; results still use stdout.

    Exporters and engine builders print to stdout from Python and from C++, which would break `--json`.

    Args:
        document: Whether stdout is for one JSON document: tables then go to stderr.
    """
    _documents.append(document)
    _lost.clear()
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
    with suppress(OSError):
        real.flush()
    saved = os.dup(descriptor)
    os.dup2(sys.stderr.fileno(), descriptor)
    stream = _open(os.dup(saved), is_result=True, closefd=True)
    _results.append(stream)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        _results.pop()
        stream.close()
        os.dup2(saved, descriptor)
        os.close(saved)


def _open(descriptor: int, *, is_result: bool, closefd: bool = False) -> TextIO:
    """Return a text stream on a descriptor that no failure ends, nor a path with bytes that are no UTF-8."""
    raw = _Descriptor(descriptor, is_result=is_result, closefd=closefd)
    unknown = "surrogateescape" if is_result else "backslashreplace"  # a path keeps its bytes; a message is read
    buffer = io.BufferedWriter(raw)
    return io.TextIOWrapper(buffer, encoding="utf-8", errors=unknown, line_buffering=not is_result)


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


def survive_failures() -> None:
    """Replace stdout and stderr by streams that end no command when they are full, or when their reader leaves."""
    for name, is_result in (("stdout", True), ("stderr", False)):
        if os.name != "nt" or not getattr(sys, name).isatty():  # a console of Windows takes text, not bytes
            setattr(sys, name, _open(getattr(sys, name).fileno(), is_result=is_result))


def lost_result() -> OSError | None:
    """Return why a part of the result was not written; None if all was, or if its reader did not want the rest."""
    with suppress(OSError, ValueError):
        sys.stdout.flush()
    return next((error for error in _lost if error.errno not in (errno.EPIPE, errno.EINVAL)), None)


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
    import json  # here: most commands print none

    text = json.dumps(document.to_json(), indent=2, ensure_ascii=False, allow_nan=False)
    _write(f"{text}\n".encode(errors="backslashreplace").decode(), _stdout())  # `\udcff` is an escape of JSON, too


def print_status(line: str) -> None:
    """Print a line for people on stderr."""
    if not shares_terminal():
        print_error(line)


def print_error(line: str) -> None:
    """Print the line of an error on stderr; also one of several processes says why it ended."""
    with suppress(OSError, ValueError):  # the exit code says it, too
        print(line, file=sys.stderr, flush=True)


def shares_terminal() -> bool:
    """Return whether another process of this machine prints the results: one of those that train together does."""
    return os.environ.get("LOCAL_RANK", "0") != "0"


def _stdout() -> TextIO:
    return _results[-1] if _results else sys.stdout


def _write(text: str, stream: TextIO) -> bool:
    if shares_terminal():
        return True
    print(text, end="", file=stream, flush=True)
    raw = getattr(getattr(stream, "buffer", None), "raw", None)
    return not (isinstance(raw, _Descriptor) and raw.failed)


def _descriptor(stream: Any) -> int | None:
    try:
        return int(stream.fileno())
    except (AttributeError, OSError, io.UnsupportedOperation):
        return None
