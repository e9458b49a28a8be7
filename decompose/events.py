"""Events: what a long command reports to its caller, as plain data that any program can show."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NotRequired, TypeVar

# pydantic, which reads rows from documents, asks for typing_extensions' below Python 3.12
from typing_extensions import TypedDict

T = TypeVar("T")


class CacheFigures(TypedDict):
    """What the cache of the teacher's features did in one epoch: images asked for and read, and bytes kept."""

    asked: int
    read: int
    asked_seconds: float
    read_seconds: float
    kept_bytes: int


class CacheStatistics(TypedDict):
    """What a cache of the teacher's features saved in one phase: epochs that asked the teacher against those that read.

    Seconds are means per epoch, and null where there is no such epoch.
    """

    phase: str
    asked_epochs: int
    asked_epoch_seconds: float | None
    asked_seconds: float | None
    read_epochs: int
    read_epoch_seconds: float | None
    read_seconds: float | None
    kept_bytes: int
    speed_up: float | None


class EpochRow(TypedDict):
    """A row of `metrics.jsonl`: losses by term and region, the validation metric by region, and how fast it was."""

    phase: str
    epoch: int
    loss: Mapping[str, Mapping[str, float]]
    metric: NotRequired[str]
    val: dict[str, Any]
    """The metric by region under its name, and `mean`."""
    lr: NotRequired[float]
    seconds: NotRequired[float]
    images_per_second: NotRequired[float]
    loader_images_per_second: NotRequired[float]
    memory_mib: NotRequired[float]
    teacher: NotRequired[CacheFigures]
    gradient_cosine: NotRequired[float | None]


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that happened."""


@dataclass(frozen=True, kw_only=True)
class Notice(Event):
    """A sentence that the user should read: a term that is off, what matched in a weights file."""

    text: str


@dataclass(frozen=True)
class Working(Event):
    """Something that takes a while and trains nothing; `done` of `total` items are through."""

    text: str
    done: int
    total: int


@dataclass(frozen=True, kw_only=True)
class Started(Event):
    """A phase of training begins, at `first_epoch` (above 0 after a resume; `history` has a row for each before it)."""

    phase: str
    epochs: int
    steps: int
    first_epoch: int = 0
    parameters: int = 0
    history: tuple[EpochRow, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Step(Event):
    """One optimiser step; losses are the terms' means over the batch, rates in images a second.

    `memory_mib` is the resident set of the process now, `cuda_mib` the most that was held at once on its GPU.
    """

    phase: str
    epoch: int
    epochs: int
    step: int
    steps: int
    losses: Mapping[str, float]
    images_per_second: float
    loader_images_per_second: float
    eta_s: float
    memory_mib: float
    lr: float = 0.0
    cuda_mib: float | None = None


@dataclass(frozen=True, kw_only=True)
class Validated(Event):
    """An epoch ended; the task's `metric` on the validation part by region, losses by term and region."""

    phase: str
    epoch: int
    epochs: int
    metric: str
    scores: Mapping[str, float]
    mean: float
    best: bool
    losses: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    images_per_second: float = 0.0
    loader_images_per_second: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Saved(Event):
    """A checkpoint is safely on disk."""

    phase: str
    epoch: int
    path: str


@dataclass(frozen=True, kw_only=True)
class Finished(Event):
    """A phase ended; the weights are those of the best epoch, `history` the rows of `metrics.jsonl`."""

    phase: str
    best_epoch: int
    best: float
    seconds: float
    history: tuple[EpochRow, ...] = ()


Listener = Callable[[Event], None]


def ignore(event: Event) -> None:
    """Listen to nothing."""
    del event


def named(name: str, on_event: Listener) -> Listener:
    """Return a listener that puts a name before the text of what is being done."""
    return lambda event: on_event(replace(event, text=f"{name}, {event.text}") if isinstance(event, Working) else event)


def with_progress(items: Sequence[T], text: str, on_event: Listener) -> Iterator[T]:
    """Yield items, and tell before each, and after the last, how many are through."""
    for done, item in enumerate(items):
        on_event(Working(text, done, len(items)))
        yield item
    on_event(Working(text, len(items), len(items)))
