"""Progress on stderr: a live line on a terminal; elsewhere a plain line per step or epoch, and one each minute."""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from lorkit.cli.output.amounts import clock
from lorkit.cli.output.reminder import PERIOD_S, Reminder
from lorkit.cli.output.streams import print_error, shares_terminal
from lorkit.decompose import events
from lorkit.decompose.errors import plural, plural_of

if TYPE_CHECKING:
    from rich.console import Console

    from lorkit.cli.output.live_line import LiveLine
    from lorkit.decompose.events import Event


@dataclass
class _Task:
    """What a line shows, in the words of rich's task of the same name."""

    start: float
    visible: bool = False
    completed: float = 0
    total: float | None = None
    fields: dict[str, Any] = field(default_factory=dict)

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self.start


class _Plain:
    """A line that is not drawn: off a terminal nothing of rich is needed, whose import takes 0.1 s."""

    def __init__(self) -> None:
        self.tasks = [_Task(time.monotonic())]

    def get_time(self) -> float:
        return time.monotonic()

    def update(self, index: int, *, refresh: bool = False, **values: Any) -> None:
        del refresh
        task = self.tasks[index]
        for name in ("visible", "completed", "total"):
            setattr(task, name, values.pop(name, getattr(task, name)))
        task.fields.update(values)

    def reset(self, index: int, **values: Any) -> None:
        self.tasks[index].start = time.monotonic()
        self.update(index, **values)


class ProgressLine:
    """A listener with a progress line that is redrawn, on a terminal only, and removed at the end.

    Off a terminal it prints a line per item of a command that counts items, and per epoch of a training, and repeats
    how far the work is when it printed nothing for `period` seconds. Of processes that train together only the first
    prints.

    Args:
        command: Name of the work, written before each item; empty for a training.
        console: Console; stderr by default.
        images: Whether the items are images, with a rate.
        period: Seconds of silence before a line off a terminal.
    """

    def __init__(
        self, command: str = "", console: Console | None = None, *, images: bool = False, period: float = PERIOD_S
    ) -> None:
        self._silent = shares_terminal()
        self.live = not self._silent and _is_drawn(console)
        self._console = console
        self.progress: LiveLine | _Plain = _drawn(console) if self.live else _Plain()
        self._task: Any = 0 if isinstance(self.progress, _Plain) else self.progress.add_task("", visible=False)
        self._items = ("", 0)
        self._command, self._images, self._last = command, images, ""
        self._reminder = None if self.live or self._silent else Reminder(self._remind, period)

    def __enter__(self) -> Self:
        gc.enable()  # the work begins: see `cli.main`
        if not isinstance(self.progress, _Plain):
            self.progress.start()
        if self._reminder is not None:
            self._reminder.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._reminder is not None:
            self._reminder.stop()
        if not isinstance(self.progress, _Plain):
            self.progress.stop()

    def __call__(self, event: Event) -> None:
        """Render one event."""
        match event:
            case events.Notice():
                self._print(f"note: {event.text}")
            case events.Working():
                self._work(event)
            case events.Started():
                self._hide()
                self._print(_started(event))
            case events.Step():
                self._show(
                    f"{event.phase} {event.epoch + 1}/{event.epochs}",
                    event.epoch * event.steps + event.step + 1,
                    event.epochs * event.steps,
                    kind=event.phase,
                    losses=event.losses,
                    rate=event.images_per_second,
                    case=event.case,
                    left=event.eta_s,
                )
            case events.Validated():
                self._print(_validated(event))
            case events.Finished():
                self._hide()

    def _work(self, event: events.Working) -> None:
        if not self._command:
            self._show(event.text, event.done, event.total, kind=event.text)
            return
        text = f"{self._command}: {event.text}"
        self._show(text, event.done, event.total, item=event.text)
        if not self.live and text != self._last and event.done < event.total:
            self._print(f"{text} ({event.done + 1}/{event.total})")
        self._last = text

    def _print(self, text: str) -> None:
        if self._silent:
            return
        console = self._console if isinstance(self.progress, _Plain) else self.progress.console
        if console is None:
            print_error(text)
        else:
            console.print(text, markup=False)
        if self._reminder is not None:
            self._reminder.spoken()

    def _remind(self, seconds: float) -> None:
        """Print what a terminal would show now."""
        (task,) = self.progress.tasks
        since = f"{clock(seconds)} since the start"
        if not task.visible:
            self._print(f"{self._command or 'still working'}: {since}")
            return
        loss, rate, ends = (task.fields[name] for name in ("loss", "rate", "ends"))
        facts = [f"{'step ' if loss else ''}{task.completed:g} of {task.total:g}{'' if loss else ' done'}", loss]
        facts += [rate.strip(), "" if ends is None else f"ETA {clock(ends - self.progress.get_time())}", since]
        self._print(f"{task.fields['text']}: {', '.join(fact for fact in facts if fact)}")

    def _show(
        self,
        text: str,
        done: int,
        total: int,
        *,
        item: str = "",
        kind: str = "",
        losses: Mapping[str, float] | None = None,
        rate: float | None = None,
        left: float | None = None,
        case: str = "image",
    ) -> None:
        """Show this from the next frame on, on a terminal; only the `item` of the text if the line is too long.

        Another `kind` of items, or a new list, restarts the estimate of time. None derives `rate`, in images (or
        nodes, `case`) per second, and the remaining seconds `left` from the items done.
        """
        (task,) = self.progress.tasks
        again = (kind, total) != self._items or done < task.completed
        self._items = (kind, total)
        passed = 0.0 if again else task.elapsed
        if passed and done:
            rate = done / passed if self._images else rate
            left = passed / done * (total - done) if left is None else left
        tell = self.progress.reset if again else self.progress.update
        tell(
            self._task,
            visible=True,
            text=text,
            item=item or text,
            completed=done,
            total=total,
            ends=None if left is None else self.progress.get_time() + left,
            terms=" ".join(f"{term} {value:.3f}" for term, value in (losses or {}).items()),
            loss=f"loss {sum(losses.values()):.3f}" if losses else "",
            rate="" if rate is None else f"{rate:>3.0f} {plural_of(case)}/s",
        )

    def _hide(self) -> None:
        self.progress.update(self._task, visible=False, refresh=True)


def _is_drawn(console: Console | None) -> bool:
    """Return whether the line is redrawn: on a terminal that can move its cursor."""
    if console is None and not sys.stderr.isatty():
        return False
    from lorkit.cli.output.live_line import terminal

    console = console or terminal()
    return console.is_terminal and not console.is_dumb_terminal


def _drawn(console: Console | None) -> LiveLine:
    from lorkit.cli.output.live_line import LiveLine, terminal

    return LiveLine(console=console or terminal(), refresh_per_second=4, transient=True)


def _started(event: events.Started) -> str:
    resumed = f", from epoch {event.first_epoch + 1}" if event.first_epoch else ""
    size = f", {event.parameters / 1e6:.1f} M parameters" if event.parameters else ""
    return f"{event.phase}: {plural(event.epochs, 'epoch')} of {plural(event.steps, 'step')}{size}{resumed}"


def _validated(event: events.Validated) -> str:
    values, what = event.scores, f"{event.metric.replace('_', ' ')} {_number(event.mean)}"
    if event.mean is None:
        what, values = "loss", {}
        for row in event.losses.values():
            values = {**values, **{name: values.get(name, 0.0) + value for name, value in row.items()}}
    regions = "  ".join(f"{name} {_number(value)}" for name, value in values.items())
    rates = f"{event.images_per_second:.0f} {plural_of(event.case)}/s (loader {event.loader_images_per_second:.0f})"
    best = "  best" if event.best and event.mean is not None else ""
    return f"{event.phase} {event.epoch + 1}/{event.epochs}: {what}  {regions}  {rates}{best}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
