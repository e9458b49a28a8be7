"""Limits of one call of a runtime: a network of others may loop without end, or hold more and more memory.

A thread looks at the calls of this process twice a second. It tells ONNX Runtime to end one that exceeds a limit, which
it does between two nodes. No other runtime can be told so: there a command ends as a whole, with the same error, and a
program of the user's gets the error when the runtime returns.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from lorkit.decompose.errors import ArtifactError, UsageError, end_process
from lorkit.decompose.machine import available_bytes, resident_bytes

if TYPE_CHECKING:
    import onnxruntime

LIMIT = "LORKIT_ENGINE_SECONDS"
"""The environment variable with the seconds of one call."""
DEFAULT_S = 600.0
POLL_S = 0.5
_SHARE = 0.8
"""Of the memory that was free, what one call may take."""


class _Run:
    """A call that is watched: its inputs, its seconds, how the runtime is told to return, and why it was ended."""

    def __init__(self, inputs: Mapping[str, Any], seconds: float, stop: Callable[[], None] | None) -> None:
        self.inputs, self.seconds, self.stop = inputs, seconds, stop
        self.end = time.monotonic() + seconds
        self.at_start: tuple[int, int] | None = None  # resident and free bytes when it was first seen
        self.exceeded = ""

    def __enter__(self) -> None:
        self.watcher = _watcher
        self.watcher.add(self)

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self.watcher.remove(self)
        if self.exceeded and (error is None or isinstance(error, Exception)):  # runtimes' have no common base
            raise self.error() from None

    def check(self, now: float) -> None:
        """End the call if it exceeds a limit."""
        resident = resident_bytes()
        if self.at_start is None:
            self.at_start = (resident, available_bytes())
        taken, free = resident - self.at_start[0], self.at_start[1]
        if now > self.end:
            self.exceeded = f"was ended after {self.seconds:g} s"
        elif taken > _SHARE * free:
            took = f"it took {taken / 2**30:.1f} GiB of the {free / 2**30:.1f} GiB of memory that were free"
            self.exceeded = f"was ended: {took}"
        if self.exceeded and self.stop is not None:
            self.stop()
        elif self.exceeded:
            end_process(self.error())

    def error(self) -> ArtifactError:
        shapes = ", ".join(str(tuple(values.shape)) for values in self.inputs.values())
        return ArtifactError(
            f"the network did not answer a batch of shape {shapes} and {self.exceeded}",
            required=f"an answer within {LIMIT} seconds ({DEFAULT_S:g} unless it is set) and in the free memory",
            fix=f"remove the endless loop from the graph, use smaller batches, or set {LIMIT} higher",
        )


class _Watcher:
    """The thread, started for the first run, and what it looks at."""

    def __init__(self) -> None:
        self._lock, self._runs = threading.Lock(), set[_Run]()
        self._thread: threading.Thread | None = None

    def add(self, run: _Run) -> None:
        with self._lock:
            self._runs.add(run)
            if self._thread is None:
                self._thread = threading.Thread(target=self._watch, name="inference-limits", daemon=True)
                self._thread.start()

    def remove(self, run: _Run) -> None:
        with self._lock:
            self._runs.discard(run)

    def _watch(self) -> None:
        while True:
            time.sleep(POLL_S)
            now = time.monotonic()
            with self._lock:  # so that no run is ended after it was removed: options are used again
                for run in self._runs:
                    run.check(now)


_watcher = _Watcher()


def _after_fork() -> None:
    """Begin anew: a fork has no thread, and maybe a lock that nobody will release."""
    global _watcher
    _watcher = _Watcher()


os.register_at_fork(after_in_child=_after_fork)


def run_within_limits(
    session: onnxruntime.InferenceSession,
    outputs: Sequence[str],
    inputs: Mapping[str, Any],
    options: onnxruntime.RunOptions | None = None,
) -> list[Any]:
    """Run a session and return its outputs.

    Args:
        session: The session.
        outputs: Names of its outputs.
        inputs: Arrays by the names of its inputs.
        options: Of the run, such as its adapter.

    Raises:
        ArtifactError: It took longer than `LORKIT_ENGINE_SECONDS`, 600 by default, or most of the free memory.
        UsageError: `LORKIT_ENGINE_SECONDS` is no number of seconds.
        Exception: ONNX Runtime's own errors.
    """
    import onnxruntime

    options = onnxruntime.RunOptions() if options is None else options
    options.terminate = False
    with within_limits(inputs, lambda: setattr(options, "terminate", True)):
        found: list[Any] = session.run(list(outputs), dict(inputs), options)
    return found


def within_limits(inputs: Mapping[str, Any], stop: Callable[[], None] | None = None) -> AbstractContextManager[object]:
    """Limit the time and the memory of a call of a runtime, within the block.

    Args:
        inputs: Arrays by the names of the network's inputs.
        stop: Has the runtime return with an exception of its own. Without it a command ends as a whole.

    Raises:
        ArtifactError: As `run_within_limits`.
        UsageError: As there.
    """
    return _Run(inputs, _seconds(), stop)


def _seconds() -> float:
    given = os.environ.get(LIMIT)
    if given is None:
        return DEFAULT_S
    try:
        seconds = float(given)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise UsageError(f"{LIMIT} is {given!r}", required="seconds, above 0", fix="correct or unset it")
    return seconds
