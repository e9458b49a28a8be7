"""Limits of one run of ONNX Runtime: a graph of others may loop without end, or hold more and more memory.

A thread looks at the runs of this process twice a second. It tells the runtime to end one that exceeds a limit, which
the runtime does between two nodes.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from lorkit.decompose.errors import ArtifactError, UsageError
from lorkit.decompose.machine import available_bytes, resident_bytes

if TYPE_CHECKING:
    import onnxruntime

LIMIT = "LORKIT_ENGINE_SECONDS"
"""The environment variable with the seconds of one run."""
DEFAULT_S = 600.0
POLL_S = 0.5
_SHARE = 0.8
"""Of the memory that was free, what one run may take."""


@dataclass(eq=False)
class _Run:
    """A run that is watched: its options, its end by `time.monotonic`, and why it was ended."""

    options: onnxruntime.RunOptions
    end: float
    at_start: tuple[int, int] | None = None
    """Resident and free bytes when it was first seen."""
    exceeded: str = ""

    def check(self, now: float) -> None:
        """End the run if it exceeds a limit."""
        resident = resident_bytes()
        if self.at_start is None:
            self.at_start = (resident, available_bytes())
        taken, free = resident - self.at_start[0], self.at_start[1]
        if now > self.end:
            self.exceeded = "time"
        elif taken > _SHARE * free:
            self.exceeded = f"it took {taken / 2**30:.1f} GiB of the {free / 2**30:.1f} GiB of memory that were free"
        if self.exceeded:
            self.options.terminate = True


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

    seconds = _seconds()
    options = onnxruntime.RunOptions() if options is None else options
    options.terminate = False
    watcher, run = _watcher, _Run(options, time.monotonic() + seconds)
    watcher.add(run)
    try:
        found: list[Any] = session.run(list(outputs), dict(inputs), options)
    except Exception:  # of the runtime, which have no common base
        if not run.exceeded:
            raise
        _refuse(inputs, seconds, run.exceeded)
    finally:
        watcher.remove(run)
    return found


def _refuse(inputs: Mapping[str, Any], seconds: float, exceeded: str) -> NoReturn:
    shapes = ", ".join(str(tuple(values.shape)) for values in inputs.values())
    did = f"was ended after {seconds:g} s" if exceeded == "time" else f"was ended: {exceeded}"
    raise ArtifactError(
        f"the network did not answer a batch of shape {shapes} and {did}",
        required=f"an answer within {LIMIT} seconds ({DEFAULT_S:g} unless it is set) and in the free memory",
        fix=f"remove the endless loop from the graph, use smaller batches, or set {LIMIT} higher",
    ) from None


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
