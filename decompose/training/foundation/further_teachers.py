"""Further teachers beside the foundation: `teachers` of the configuration, opened and trained as the foundation is.

The foundation stays the baseline of the gate, and it alone is stored in the run.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lorkit.decompose.config import Config
from lorkit.decompose.errors import LorkitError, UsageError
from lorkit.decompose.events import Event, Listener, Notice
from lorkit.decompose.methods import HasAdapter, Method
from lorkit.decompose.models.foundation.model import Foundation
from lorkit.decompose.regions import RegionSet
from lorkit.decompose.training.foundation.pretraining import (
    OpenedFoundation,
    foundation_inputs,
    open_foundation,
    train_foundation,
    with_probes,
    with_probes_of,
)
from lorkit.decompose.training.foundation.resolving import resolve_foundation
from lorkit.decompose.training.training_data import TrainingData

if TYPE_CHECKING:
    from lightning_fabric import Fabric

_KEY = re.compile(r"(?<![/\w])foundation\.(?=(backbone|weights|key_map|regions|epochs|finetune|image)\b)")


@dataclass(frozen=True, kw_only=True)
class Teaching:
    """The teachers of a region, the foundation first: their scores on validation, and their shares of the terms."""

    scores: Sequence[float]
    shares: Sequence[float]


def with_used_teachers(config: Config, method: Method, on_event: Listener) -> Config:
    """Return the configuration without further teachers if the method has no teacher.

    Raises:
        UsageError: The method first adapts its teacher, or the cache is on, which holds the features of one teacher.
    """
    if not config.teachers:
        return config
    if not method.uses_teacher:
        on_event(Notice(text=f"teachers has no effect: {config.method} has no teacher"))
        return config.model_copy(update={"teachers": ()})
    if isinstance(method, HasAdapter):
        raise UsageError(
            f"teachers with method {config.method}, which adapts its one teacher to each region",
            required="a method that learns from teachers as they are, such as kd, rd or lorkd",
            fix="leave teachers out, or choose another method",
        )
    if config.cache.enabled:
        raise UsageError(
            "teachers with cache.enabled, which keeps the features of one teacher",
            required="cache.enabled false with further teachers",
            fix="leave one of them out",
        )
    return config


def resolve_teachers(config: Config) -> Config:
    """Return the configuration with the image settings and the cached weights of each further teacher."""
    found = []
    for index in range(len(config.teachers)):
        with _named(index):
            found.append(resolve_foundation(config.of_teacher(index)).foundation)
    return config.model_copy(update={"teachers": tuple(found)}) if found else config


def inputs_of_teachers(config: Config, regions: RegionSet, digests: Mapping[str, str]) -> list[str]:
    """Return the digest of everything that determines the weights of each further teacher."""
    found = []
    for index in range(len(config.teachers)):
        with _named(index):
            found.append(foundation_inputs(config.of_teacher(index), regions, digests))
    return found


def open_teachers(config: Config, regions: RegionSet, digests: Mapping[str, str], root: Path) -> list[OpenedFoundation]:
    """Load each further teacher, or build the network to pre-train or fine-tune; arguments as `open_foundation`."""
    found = []
    for index in range(len(config.teachers)):
        with _named(index):
            found.append(open_foundation(config.of_teacher(index), regions, digests, root))
    return found


def train_teachers(
    opened: Sequence[OpenedFoundation], config: Config, data: TrainingData, fabric: Fabric, on_event: Listener
) -> list[Foundation]:
    """Return further teachers with a head for every region, pre-trained or fine-tuned now if that is to be done."""
    found = []
    for index, one in enumerate(opened):
        told, seen = _teller(on_event, index), data.of_teacher(index)
        trained = train_foundation(one, config.of_teacher(index), seen, fabric, told, resume=True)
        found.append(with_probes(trained, seen, told))
    return found


def with_probes_again(further: Sequence[Foundation], data: TrainingData, on_event: Listener) -> list[Foundation]:
    """Return further teachers with their linear probes fitted again, on other training parts."""
    return [with_probes_of(one, data.of_teacher(index), _teller(on_event, index)) for index, one in enumerate(further)]


def teacher_records(teachers: Sequence[Foundation], teaching: Mapping[str, Teaching]) -> list[dict[str, Any]]:
    """Return what a run's manifest says of its teachers, the foundation first.

    Args:
        teachers: The foundation and further teachers.
        teaching: By region, their scores on validation and their shares.
    """
    return [
        {
            "backbone": one.backbone,
            "digest": one.digest,
            "source": dict(one.source),
            "val": {name: row.scores[index] for name, row in teaching.items()},
            "share": {name: row.shares[index] for name, row in teaching.items()},
        }
        for index, one in enumerate(teachers)
    ]


@contextmanager
def _named(index: int) -> Iterator[None]:
    """Name the section of a further teacher in errors that are about a foundation."""
    try:
        yield
    except LorkitError as error:
        texts = [_KEY.sub(f"teachers.{index}.", text) for text in (error.given, error.required, error.fix)]
        if texts[0] == error.given:
            texts[0] = f"teachers.{index}: {error.given}"
        raise type(error)(texts[0], required=texts[1], fix=texts[2]) from None


def _teller(on_event: Listener, index: int) -> Listener:
    """Say in notices which teacher they are about; the foundation is teacher 1."""

    def tell(event: Event) -> None:
        on_event(Notice(text=f"teacher {index + 2}: {event.text}") if isinstance(event, Notice) else event)

    return tell
