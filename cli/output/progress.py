"""Progress on stderr: a live line on a terminal; elsewhere a plain line per step or epoch, and one each minute."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Console, RenderableType
from rich.constrain import Constrain
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn
from rich.table import Column
from rich.text import Text

from lorkit.cli.output.reminder import PERIOD_S, Reminder
from lorkit.cli.output.streams import shares_terminal
from lorkit.decompose import events
from lorkit.decompose.errors import plural, plural_of
from lorkit.decompose.machine import cuda_peak_mib, resident_mib

if TYPE_CHECKING:
    from lorkit.decompose.events import Event


class _What(ProgressColumn):
    """The current work, or only its item, shortened if the line is too long."""

    def __init__(self, field: str) -> None:
        super().__init__()
        self.field = field

    def render(self, task: Task) -> Text:
        return Text(task.fields[self.field], no_wrap=True, overflow="ellipsis")


class _Time(ProgressColumn):
    """Remaining time, counted down between two reports; elapsed time if it is unknown."""

    def render(self, task: Task) -> Text:
        ends = task.fields["ends"]
        return Text(f"{_clock(task.elapsed or 0)} elapsed" if ends is None else f"ETA {_clock(ends - task.get_time())}")


class _Memory(ProgressColumn):
    """Resident set of the process, and the peak memory on its GPU."""

    def render(self, task: Task) -> Text:
        peak = cuda_peak_mib()
        return Text(f"memory {_size(resident_mib())}" + ("" if peak is None else f"  GPU peak {_size(peak)}"))


_WHOLE = Column(no_wrap=True)
_WHAT, _ITEM = _What("text"), _What("item")
_DONE, _BAR = MofNCompleteColumn(table_column=_WHOLE), BarColumn(20, table_column=_WHOLE)
_TIME, _MEMORY = _Time(_WHOLE), _Memory(_WHOLE)
_TERMS, _LOSS, _RATE = (TextColumn(f"{{task.fields[{name}]}}", markup=False) for name in ("terms", "loss", "rate"))
_FORMS: tuple[tuple[ProgressColumn, ...], ...] = (
    (_WHAT, _DONE, _BAR, _TERMS, _RATE, _TIME, _MEMORY),
    (_WHAT, _DONE, _TERMS, _RATE, _TIME, _MEMORY),
    (_WHAT, _DONE, _BAR, _LOSS, _RATE, _TIME, _MEMORY),
    (_WHAT, _DONE, _LOSS, _RATE, _TIME, _MEMORY),
    (_WHAT, _DONE, _LOSS, _TIME),
    (_WHAT, _DONE, _TIME),
    (_ITEM, _DONE, _TIME),
    (_ITEM, _TIME),
    (_ITEM,),
)
"""The columns of a line, from the widest terminal to the narrowest."""
_NARROW = 30
"""Terminals up to this width use the last two forms; on others the item is shortened."""


class _Line(Progress):
    """One task in one line, with as many columns as fit."""

    def get_renderables(self) -> Iterator[RenderableType]:
        """Yield the line; nothing before the first report."""
        yield from (self._fit(task) for task in self.tasks if task.visible)

    def _fit(self, task: Task) -> RenderableType:
        room = self.console.width - 1  # a full last column wraps on some terminals
        for form in _FORMS if room < _NARROW else _FORMS[:-2]:
            self.columns = tuple(column for column in form if column(task))
            table = self.make_tasks_table([task])
            if self.console.measure(table).maximum <= room:
                break
        return Constrain(table, room)


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
        console = console or _stderr()
        self._silent = shares_terminal()
        self.live = not self._silent and console.is_terminal and not console.is_dumb_terminal
        self.progress = _Line(console=console, refresh_per_second=4, transient=True, disable=not self.live)
        self._task = self.progress.add_task("", visible=False)
        self._items = ("", 0)
        self._command, self._images, self._last = command, images, ""
        self._reminder = None if self.live or self._silent else Reminder(self._remind, period)

    def __enter__(self) -> Self:
        self.progress.start()
        if self._reminder is not None:
            self._reminder.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._reminder is not None:
            self._reminder.stop()
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
        self.progress.console.print(text, markup=False)
        if self._reminder is not None:
            self._reminder.spoken()

    def _remind(self, seconds: float) -> None:
        """Print what a terminal would show now."""
        (task,) = self.progress.tasks
        since = f"{_clock(seconds)} since the start"
        if not task.visible:
            self._print(f"{self._command or 'still working'}: {since}")
            return
        loss, rate, ends = (task.fields[name] for name in ("loss", "rate", "ends"))
        facts = [f"{'step ' if loss else ''}{task.completed:g} of {task.total:g}{'' if loss else ' done'}", loss]
        facts += [rate.strip(), "" if ends is None else f"ETA {_clock(ends - task.get_time())}", since]
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


def _stderr() -> Console:
    """Return a console on stderr that is a terminal if stderr is, independent of FORCE_COLOR and similar."""
    forced = None if sys.stderr.isatty() else False
    return Console(stderr=True, highlight=False, emoji=False, soft_wrap=True, force_terminal=forced)


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


def _clock(seconds: float) -> str:
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _size(mib: float) -> str:
    return f"{mib / 1024:.1f} GiB" if mib >= 1000 else f"{mib:.0f} MiB"
