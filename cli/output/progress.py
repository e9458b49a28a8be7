"""Progress on stderr: a live line on a terminal, one plain line a step or an epoch elsewhere."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.live import Live
from rich.text import Text

from lorkit.cli.output.status_line import Reading, StatusLine
from lorkit.decompose import events
from lorkit.decompose.machine import cuda_peak_mib, resident_mib

if TYPE_CHECKING:
    from lorkit.decompose.events import Event

_FRAMES_A_SECOND = 4


class _Live:
    """A line that is drawn anew while something runs; it exists on a terminal only, and is gone afterwards."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or _stderr()
        self.live: Live | None = None
        self._reading: Reading | None = None
        self._at = 0.0
        first = os.environ.get("LOCAL_RANK", "0") == "0"  # processes that train together share one terminal
        if first and self.console.is_terminal and not self.console.is_dumb_terminal:
            self._status = StatusLine("-" if self.console.options.ascii_only else "━")
            self.live = Live(
                get_renderable=self.frame,
                console=self.console,
                refresh_per_second=_FRAMES_A_SECOND,
                transient=True,
                vertical_overflow="crop",
            )

    def __enter__(self) -> Self:
        if self.live is not None:
            self.live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.live is not None:
            self.live.stop()

    def line(self, text: str) -> None:
        """Print a line that stays."""
        self.console.print(text, markup=False)

    def show(self, reading: Reading) -> None:
        """Show this from the next frame on, where there are any."""
        self._reading, self._at = reading, time.monotonic()

    def clear(self) -> None:
        """Show nothing until something is known again."""
        self._reading = None

    def frame(self) -> Text:
        """Return the line as it is now: between two reports time goes on, and memory changes."""
        reading = self._reading
        if reading is None:
            return Text()
        passed = time.monotonic() - self._at
        left = None if reading.left is None else max(0.0, reading.left - passed)
        now = replace(
            reading,
            left=left,
            elapsed=reading.elapsed + passed,
            memory_mib=resident_mib(),
            cuda_mib=cuda_peak_mib(),
        )
        return self._status.render(now, self.console.width - 1)  # a full last column wraps on some terminals


def _stderr() -> Console:
    """Return a console on stderr that is a terminal where that is one, whatever FORCE_COLOR and the like say."""
    forced = None if sys.stderr.isatty() else False
    return Console(stderr=True, highlight=False, soft_wrap=True, force_terminal=forced)


class _Pace:
    """How fast items go, and so how long the rest takes."""

    def __init__(self) -> None:
        self._of: tuple[str, int] = ("", 0)
        self._done, self._began = 0, time.monotonic()

    def reading(self, kind: str, text: str, done: int, total: int, *, images: bool = False) -> Reading:
        """Return what to show; another kind of items, or a list that begins anew, takes another time an item."""
        now = time.monotonic()
        if (kind, total) != self._of or done < self._done:
            self._began = now
        self._of, self._done = (kind, total), done
        passed = now - self._began
        timed = done > 0 and passed > 0
        return Reading(
            text=text,
            done=done,
            total=total,
            rate=done / passed if timed and images else None,
            left=passed / done * (total - done) if timed else None,
            elapsed=passed,
        )


class Steps(_Live):
    """Progress of the verbs that count items: call it with a text, the items done and their total.

    Args:
        verb: What is done to them.
        console: Where to; stderr by default.
        images: Whether the items are images, and a rate makes sense.
    """

    def __init__(self, verb: str, console: Console | None = None, *, images: bool = False) -> None:
        super().__init__(console)
        self._verb, self._images = verb, images
        self._last, self._pace = "", _Pace()

    def __call__(self, text: str, done: int, total: int) -> None:
        """Render one report of progress; off a terminal a text is printed once."""
        self.show(self._pace.reading("", f"{self._verb}: {text}", done, total, images=self._images))
        if self.live is None and text != self._last and done < total:
            self.line(f"{self._verb}: {text} ({done + 1}/{total})")
        self._last = text


class Training(_Live):
    """Progress of training, from its events; off a terminal one line an epoch."""

    def __init__(self, console: Console | None = None) -> None:
        super().__init__(console)
        self._pace = _Pace()

    def __call__(self, event: Event) -> None:
        """Render one event."""
        if isinstance(event, events.Notice):
            self.line(f"note: {event.text}")
        elif isinstance(event, events.Working):
            self.show(self._pace.reading(event.text, event.text, event.done, event.total))
        elif isinstance(event, events.Started):
            self.clear()
            self.line(_started(event))
        elif isinstance(event, events.Step):
            self.show(_reading(event))
        elif isinstance(event, events.Validated):
            self.line(_validated(event))
        elif isinstance(event, events.Finished):
            self.clear()


def _started(event: events.Started) -> str:
    resumed = f", from epoch {event.first_epoch + 1}" if event.first_epoch else ""
    size = f", {event.parameters / 1e6:.1f} M parameters" if event.parameters else ""
    return f"{event.phase}: {event.epochs} epochs of {event.steps} steps{size}{resumed}"


def _reading(event: events.Step) -> Reading:
    return Reading(
        text=event.phase,
        part=f"{event.epoch + 1}/{event.epochs}",
        done=event.epoch * event.steps + event.step + 1,
        total=event.epochs * event.steps,
        losses=event.losses,
        rate=event.images_per_second,
        left=event.eta_s,
    )


def _validated(event: events.Validated) -> str:
    regions = "  ".join(f"{name} {_number(value)}" for name, value in event.scores.items())
    rates = f"{event.images_per_second:.0f} images/s (loader {event.loader_images_per_second:.0f})"
    best = "  best" if event.best else ""
    head = f"{event.phase} {event.epoch + 1}/{event.epochs}: {event.metric.replace('_', ' ')} {_number(event.mean)}"
    return f"{head}  {regions}  {rates}{best}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
