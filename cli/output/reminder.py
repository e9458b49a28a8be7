"""Lines of a long step off a terminal: logs of jobs show that it works, and some systems end a silent job."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

PERIOD_S = 50.0
"""Seconds of silence before a line: below a minute, since a busy process wakes up late."""


class Reminder:
    """Calls a function whenever nothing was printed for a while, from a thread of its own.

    Args:
        remind: Prints a line; gets the seconds since the start.
        period: Seconds of silence before each call.
    """

    def __init__(self, remind: Callable[[float], None], period: float = PERIOD_S) -> None:
        self._remind, self._period = remind, period
        self._started = self._spoken = time.monotonic()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reminder", daemon=True)

    def start(self) -> None:
        """Begin to count."""
        self._started = self._spoken = time.monotonic()
        self._thread.start()

    def stop(self) -> None:
        """End; nothing is printed after this returns."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()

    def spoken(self) -> None:
        """Note that a line was printed."""
        self._spoken = time.monotonic()

    def _run(self) -> None:
        while not self._stopped.wait(max(0.0, self._spoken + self._period - time.monotonic())):
            now = time.monotonic()
            if now >= self._spoken + self._period:
                self._remind(now - self._started)
                self.spoken()
