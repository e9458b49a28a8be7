"""What a stream remembers: sums of features by relation, key and group, and each row that was counted.

The groups of a key are the classes, for rows whose label is known, and one for all other rows. Shapes: C classes, F
features, P places.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Protocol, TypeAlias, TypeVar

from lorkit.decompose.artifacts import digest_bytes
from lorkit.decompose.artifacts.arrays import Float32Array, Floats
from lorkit.decompose.config.graphs import NodeInput
from lorkit.decompose.errors import ArtifactError

T = TypeVar("T")
FORMAT = 1
WAIT_S = 30.0
"""How long a process waits for another one that writes."""
Place: TypeAlias = tuple[int, str]
"""Index of a relation, and a key of it."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """What the sums of a store are made of; networks that agree in it can share one.

    Attributes:
        relations: Names, in order.
        features: Names, in order.
        classes: Names, in order.
        scaling: Kind of scaling of the features.
        mean: Of each feature.
        std: Of each feature.
        knots: Of each feature, for the scaling by quantiles.
    """

    relations: tuple[str, ...]
    features: tuple[str, ...]
    classes: tuple[str, ...]
    scaling: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    knots: tuple[tuple[float, ...], ...] = ()

    @classmethod
    def of(cls, nodes: NodeInput, classes: Sequence[str]) -> Layout:
        """Return the layout of a network's input."""
        return cls(
            relations=nodes.relations,
            features=nodes.features,
            classes=tuple(classes),
            scaling=nodes.scaling,
            mean=nodes.mean,
            std=nodes.std,
            knots=nodes.knots,
        )

    @property
    def shape(self) -> tuple[int, int]:
        """(C+1, F+1): the sums of one key by group, the last group without a label, the last column the size."""
        return len(self.classes) + 1, len(self.features) + 1

    @cached_property
    def header(self) -> str:
        """The first entry of a store, as JSON: format, digest and content."""
        content = asdict(self)
        digest = digest_bytes(json.dumps(content, sort_keys=True).encode())
        return json.dumps({"format": FORMAT, "digest": digest, **content}, ensure_ascii=False)


def check_header(stored: str, layout: Layout, where: str) -> None:
    """Compare the header of a store with that of a network.

    Raises:
        ArtifactError: They differ; the first difference is named.
    """
    if stored == layout.header:
        return
    try:
        found = json.loads(stored)
    except Exception:  # boundary
        found = None
    if not isinstance(found, dict) or "format" not in found:
        raise damaged(where, "its header cannot be read")
    wanted = json.loads(layout.header)
    name = next((key for key, value in wanted.items() if key != "digest" and found.get(key) != value), None)
    if name is None:
        raise damaged(where, "its header has another digest than its content")
    raise ArtifactError(
        f"{where} was made for the {name} {_short(found.get(name))}",
        required=f"{_short(wanted[name])}, as this network has",
        fix="use the network that it was made for, or another file",
    )


def damaged(where: str, why: str) -> ArtifactError:
    """Return the error for a store whose content cannot be used."""
    return ArtifactError(
        f"{where} is damaged, or no store of counters: {why}",
        required="a file that `decompose predict --store` wrote",
        fix="restore a copy, or name a new file",
    )


def _short(value: object) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


@dataclass(slots=True, kw_only=True, eq=False)
class Row:
    """A row that was counted.

    Attributes:
        keys: Key by relation, None without one.
        values_F: (F,) scaled features.
        time: Its time, if it had one.
        label: Index of its class, -1 as long as none arrived.
        score: The answer that was given, as JSON; None for a row that was only counted.
    """

    keys: tuple[str | None, ...]
    values_F: Float32Array
    time: float | None = None
    label: int = -1
    score: str | None = None


class Ledger(Protocol):
    """The content of a store within one transaction."""

    def rows(self, ids: Sequence[str]) -> dict[str, Row]:
        """Return the rows with some ids that are known."""
        ...

    def counters(self, places: Sequence[Place]) -> Floats:
        """Return the sums (P, C+1, F+1) at some places, each named once, zeros where nothing was counted."""
        ...

    def write_counters(self, places: Sequence[Place], sums: Floats) -> None:
        """Replace the sums (P, C+1, F+1) at some places, each named once."""
        ...

    def write_rows(self, rows: Mapping[str, Row]) -> None:
        """Add rows by id; of a row that is known only the label changes."""
        ...


class CounterStore(Protocol):
    """Counters and rows that survive the process."""

    def transact(self, work: Callable[[Ledger], T]) -> T:
        """Run `work`, and keep all that it writes or, if it or the process fails, nothing.

        `work` sees what no other process changes meanwhile. It may run again, so it has no other effects.

        Raises:
            BusyError: Another process held the store for too long.
            StorageError: It cannot be written.
            ArtifactError: It is damaged.
        """
        ...

    def last_time(self) -> float | None:
        """Return the time of the row that was counted last."""
        ...

    def __len__(self) -> int:
        """Return the number of rows."""
        ...

    def close(self) -> None:
        """Release the store."""
        ...
