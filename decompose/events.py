"""Events: what training reports to its caller, as plain data."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NotRequired, TypeVar

# pydantic, which reads rows from documents, needs that of typing_extensions below Python 3.12
from typing_extensions import TypedDict

T = TypeVar("T")


class CacheFigures(TypedDict):
    """Use of the teacher's feature cache in one epoch: images requested and read, and bytes stored."""

    asked: int
    read: int
    asked_seconds: float
    read_seconds: float
    kept_bytes: int


class CacheStatistics(TypedDict):
    """Time saved by the teacher's feature cache in one phase: epochs that ran the teacher against those that read.

    Seconds are means per epoch, and null without such an epoch.
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


class GateFigures(TypedDict):
    """The gates of a router on validation images, by region.

    `mean_gates` are the mean gates of each region, by adapter and, with gates for each stage, stage after stage.
    `similarity` is the mean cosine between the gates of an image of one region and one of another (or another of the
    same). `right_by_region` is the share of images whose region is predicted.
    """

    mean_gates: dict[str, list[float]]
    similarity: dict[str, dict[str, float]]
    right_by_region: dict[str, float]


class EpochRow(TypedDict):
    """A row of `metrics.jsonl`: losses by term and region, the validation metric by region, and speed.

    A phase that is not validated has no `metric`, and `val` is empty.
    """

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
    gates: NotRequired[GateFigures]
    stopped: NotRequired[str]
    """Why the phase ended with this epoch, before `train.epochs`."""


@dataclass(frozen=True, kw_only=True)
class Event:
    """Base class of events."""


@dataclass(frozen=True, kw_only=True)
class Notice(Event):
    """A sentence for the user, such as an unused term or the matches in a weights file."""

    text: str


@dataclass(frozen=True)
class Working(Event):
    """Progress of something other than training; `done` of `total` items are finished."""

    text: str
    done: int
    total: int


@dataclass(frozen=True, kw_only=True)
class Started(Event):
    """A phase of training begins, at `first_epoch` (above 0 after a resume; `history` has the earlier epochs)."""

    phase: str
    epochs: int
    steps: int
    first_epoch: int = 0
    parameters: int = 0
    history: tuple[EpochRow, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Step(Event):
    """One optimiser step; losses are the terms' means over the batch, rates in images (or nodes, `case`) per second.

    `memory_mib` is the current resident set of the process, `cuda_mib` the peak memory on its GPU.
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
    case: str = "image"
    cuda_mib: float | None = None


@dataclass(frozen=True, kw_only=True)
class Validated(Event):
    """An epoch ended; the task's `metric` on the validation part by region, losses by term and region.

    In a phase that is not validated `metric` and `scores` are empty, and `mean` is None.
    """

    phase: str
    epoch: int
    epochs: int
    metric: str
    scores: Mapping[str, float]
    mean: float | None
    best: bool
    losses: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    images_per_second: float = 0.0
    loader_images_per_second: float = 0.0
    case: str = "image"


@dataclass(frozen=True, kw_only=True)
class Saved(Event):
    """A checkpoint is saved on disk."""

    phase: str
    epoch: int
    path: str


@dataclass(frozen=True, kw_only=True)
class Finished(Event):
    """A phase ended; the weights are those of the best epoch, `history` the rows of `metrics.jsonl`.

    `stopped` says why it ended before its last epoch. A phase that is not validated has no `best`, and its weights are
    those of the last epoch.
    """

    phase: str
    best_epoch: int
    best: float | None
    seconds: float
    history: tuple[EpochRow, ...] = ()
    stopped: str | None = None


Listener = Callable[[Event], None]


def ignore(event: Event) -> None:
    """Ignore an event."""
    del event


def named(name: str, on_event: Listener) -> Listener:
    """Return a listener that adds a name before the text of progress."""
    return lambda event: on_event(replace(event, text=f"{name}, {event.text}") if isinstance(event, Working) else event)


def with_progress(items: Sequence[T], text: str, on_event: Listener) -> Iterator[T]:
    """Yield items, and report progress before each and after the last."""
    for done, item in enumerate(items):
        on_event(Working(text, done, len(items)))
        yield item
    on_event(Working(text, len(items), len(items)))
