"""Events: what training reports to its caller, as plain data that any program can show."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that happened."""


@dataclass(frozen=True, kw_only=True)
class Notice(Event):
    """A sentence that the user should read: a term that is off, what matched in a weights file."""

    text: str


@dataclass(frozen=True, kw_only=True)
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
    history: tuple[Mapping[str, Any], ...] = ()


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
    history: tuple[Mapping[str, Any], ...] = ()


Listener = Callable[[Event], None]


def ignore(event: Event) -> None:
    """Listen to nothing."""
    del event


def with_progress(items: Sequence[T], text: str, on_event: Listener) -> Iterator[T]:
    """Yield items, and tell before each, and after the last, how many are through."""
    for done, item in enumerate(items):
        on_event(Working(text=text, done=done, total=len(items)))
        yield item
    on_event(Working(text=text, done=len(items), total=len(items)))


OnProgress: TypeAlias = Callable[[str, int, int], None]
"""Called with a short text, the number of steps done, and their total."""


def ignore_progress(text: str, done: int, total: int) -> None:
    """Ignore an event."""
