"""The line of a terminal that is redrawn, with as many columns as fit."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console, RenderableType
from rich.constrain import Constrain
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn
from rich.table import Column
from rich.text import Text

from lorkit.cli.output.amounts import clock, size
from lorkit.decompose.machine import cuda_peak_mib, resident_mib


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
        return Text(f"{clock(task.elapsed or 0)} elapsed" if ends is None else f"ETA {clock(ends - task.get_time())}")


class _Memory(ProgressColumn):
    """Resident set of the process, and the peak memory on its GPU."""

    def render(self, task: Task) -> Text:
        peak = cuda_peak_mib()
        return Text(f"memory {size(resident_mib())}" + ("" if peak is None else f"  GPU peak {size(peak)}"))


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


class LiveLine(Progress):
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


def terminal() -> Console:
    """Return a console on stderr, which is a terminal, independent of FORCE_COLOR and similar."""
    return Console(stderr=True, highlight=False, emoji=False, soft_wrap=True)
