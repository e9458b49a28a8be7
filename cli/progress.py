"""Progress on stderr: live bars with a remaining time on a terminal, one plain line a step elsewhere."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from lorkit.decompose import events

if TYPE_CHECKING:
    from lorkit.decompose.events import Event


class _Live:
    """A rich progress display that exists on a terminal only."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True, highlight=False, soft_wrap=True)
        self.bars: Progress | None = None
        if self.console.is_terminal:
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            self.bars = Progress(*columns, TextColumn("{task.fields[detail]}"), console=self.console, transient=True)
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        if self.bars is not None:
            self.bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.bars is not None:
            self.bars.stop()

    def line(self, text: str) -> None:
        """Print a line that stays."""
        self.console.print(text, markup=False)

    def show(self, text: str, done: int, total: int, detail: str = "") -> None:
        """Move the bar, where there is one."""
        if self.bars is None:
            return
        if self._task is None:
            self._task = self.bars.add_task(text, total=total, detail=detail)
        self.bars.update(self._task, description=text, completed=done, total=total, detail=detail)

    def restart(self) -> None:
        """Begin a new bar with its own remaining time."""
        if self.bars is not None and self._task is not None:
            self.bars.remove_task(self._task)
        self._task = None


class Steps(_Live):
    """Progress of the verbs that count items: call it with a text, the items done and their total."""

    def __init__(self, verb: str, console: Console | None = None) -> None:
        super().__init__(console)
        self._verb = verb
        self._last = ""

    def __call__(self, text: str, done: int, total: int) -> None:
        """Render one report of progress; off a terminal a text is printed once."""
        self.show(f"{self._verb}: {text}", done, total)
        if self.bars is None and text != self._last and done < total:
            self.line(f"{self._verb}: {text} ({done + 1}/{total})")
        self._last = text


class Training(_Live):
    """Progress of training, from its events; off a terminal one line an epoch."""

    def __call__(self, event: Event) -> None:
        """Render one event."""
        if isinstance(event, events.Notice):
            self.line(f"note: {event.text}")
        elif isinstance(event, events.Started):
            self.restart()
            self.line(_started(event))
        elif isinstance(event, events.Step):
            done = event.epoch * event.steps + event.step
            self.show(event.phase, done, event.epochs * event.steps, _rates(event))
        elif isinstance(event, events.Validated):
            self.line(_validated(event))


def _started(event: events.Started) -> str:
    resumed = f", from epoch {event.first_epoch + 1}" if event.first_epoch else ""
    size = f", {event.parameters / 1e6:.1f} M parameters" if event.parameters else ""
    return f"{event.phase}: {event.epochs} epochs of {event.steps} steps{size}{resumed}"


def _rates(event: events.Step) -> str:
    losses = " ".join(f"{name} {value:.3f}" for name, value in event.losses.items())
    return f"{losses}  {event.images_per_second:.0f} images/s"


def _validated(event: events.Validated) -> str:
    regions = "  ".join(f"{name} {_number(value)}" for name, value in event.scores.items())
    rates = f"{event.images_per_second:.0f} images/s (loader {event.loader_images_per_second:.0f})"
    best = "  best" if event.best else ""
    head = f"{event.phase} {event.epoch + 1}/{event.epochs}: {event.metric.replace('_', ' ')} {_number(event.mean)}"
    return f"{head}  {regions}  {rates}{best}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
