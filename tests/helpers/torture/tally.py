"""What was tried and what failed, and how much of it a time allows."""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

Item = TypeVar("Item")


@dataclass
class Tally:
    """One row of the table.

    Attributes:
        what: What was done, for the table.
        planned: How often a full pass would do it.
        tried: How often it was done.
        failures: What failed, one line each.
    """

    what: str
    planned: int = 0
    tried: int = 0
    failures: list[str] = field(default_factory=list)

    def add(self, problems: Iterable[str], where: str) -> None:
        """Count one try with what went wrong in it."""
        found = list(problems)
        self.tried += 1
        if found:
            self.failures.append(f"{where}: {'; '.join(found[:4])}"[:600])
            print(f"FAILED {self.what}, {self.failures[-1]}", file=sys.stderr, flush=True)

    def row(self) -> str:
        """Return its row in Markdown."""
        share = f"{100 * min(1.0, self.tried / self.planned):.3g} %" if self.planned else "0 %"
        return f"| {self.what} | {self.tried:,} | {share} | {len(self.failures):,} |"


def table(tallies: Sequence[Tally]) -> str:
    """Return all rows in Markdown."""
    head = ["| what | tried | share of a full pass | failed |", "|---|---:|---:|---:|"]
    return "\n".join([*head, *(one.row() for one in tallies)])


@dataclass(frozen=True)
class Budget:
    """The seed, and the moment (of `time.monotonic`) at which a part ends; None is never."""

    seed: int
    until: float | None = None

    @classmethod
    def of_seconds(cls, seed: int, seconds: float | None) -> Budget:
        """Return the budget of a part that begins now."""
        return cls(seed, None if seconds is None else time.monotonic() + seconds)

    @property
    def over(self) -> bool:
        """Whether the time is used up."""
        return self.until is not None and time.monotonic() > self.until

    def shuffled(self, items: Sequence[Item], most: int | None = None) -> Iterator[Item]:
        """Yield items in a seeded order, as many as the time allows: a part of a pass is a sample of the whole."""
        order = list(items)
        random.Random(self.seed).shuffle(order)
        for item in order[:most]:
            if self.over:
                return
            yield item


Say = Callable[[str], object]
