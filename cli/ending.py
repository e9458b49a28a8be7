"""End a command while its main thread is in native code, which no exception of Python reaches.

The system tells a thread of each signal, beside Python's own handler, which waits until native code returns. A limit of
an engine ends a command likewise. As after a kill nothing is half-written: artifacts are moved to their places when
they are complete.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import suppress
from types import FrameType
from typing import NoReturn

from lorkit.cli import errors
from lorkit.cli.errors import Failure
from lorkit.cli.output.streams import print_error, print_json
from lorkit.decompose.errors import let_end

GRACE_S = 1.0
"""For native code to return after a signal."""
UNWINDING_S = 5.0
"""For the removal of drafts once it did."""
_REPORT_S = 3.0

_unwinding = threading.Event()
_told = threading.Event()
"""A command has one report."""


def watch_signals(*, document: bool) -> None:
    """Have Ctrl-C and SIGTERM, the signal of containers, end this process in time, and limits of engines end it, too.

    Args:
        document: Whether an error is printed as a JSON document, too.
    """
    signal.signal(signal.SIGTERM, _interrupt)
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # as in the background of a script
        signal.signal(signal.SIGINT, _interrupt)
    if os.name != "nt":  # which tells of signals by sockets alone
        reading, writing = os.pipe()
        os.set_blocking(writing, False)
        signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        os.register_at_fork(after_in_child=_forget)
        threading.Thread(target=_watch, args=(reading, document), name="signals", daemon=True).start()
    let_end(lambda error: end_now(errors.describe_error(error), document=document))


def report(failure: Failure, *, document: bool) -> None:
    """Print the line of an error, and its JSON document if asked for."""
    _told.set()
    print_error(f"error: {failure.message}")
    if document:
        from lorkit.decompose.documents.base import ErrorDocument  # imports pydantic, which help does not need

        print_json(ErrorDocument(exit_code=failure.exit_code, message=failure.message))


def end_now(failure: Failure, *, document: bool) -> NoReturn:
    """Report an error and end the process, whatever its other threads do, also where a stream takes no report."""

    def tell() -> None:
        with suppress(BaseException):
            report(failure, document=document)

    if _told.is_set():
        time.sleep(_REPORT_S)  # the main thread may be about to
    else:
        telling = threading.Thread(target=tell, daemon=True)
        telling.start()
        telling.join(_REPORT_S)
    os._exit(failure.exit_code)


def _interrupt(number: int, frame: FrameType | None) -> None:
    _unwinding.set()
    signal.default_int_handler(number, frame)


def _watch(reading: int, document: bool) -> None:
    while True:
        if set(os.read(reading, 64)) & {int(signal.SIGINT), int(signal.SIGTERM)}:
            if _unwinding.wait(GRACE_S):
                threading.Event().wait(UNWINDING_S)  # the end of the process ends this thread
            end_now(errors.cut_short(), document=document)


def _forget() -> None:
    """Leave the signals of a forked child to itself."""
    with suppress(ValueError):  # a fork of another thread
        signal.set_wakeup_fd(-1)
