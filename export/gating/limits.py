"""Limits of the gate on cost and accuracy, optionally by region."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from lorkit.decompose.documents.base import Verdict
from lorkit.decompose.errors import UsageError

DROP = 0.02
ANY = "*"
"""Key of all other regions in a mapping of allowed drops."""
_LONGEST = 86_400.0
VERDICTS: tuple[Verdict, ...] = ("pass", "inconclusive", "fail")
"""From the best to the worst."""


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """Return the worst verdict: fail, then inconclusive, then pass."""
    return max(verdicts, key=VERDICTS.index)


Fractions = float | Mapping[str, float]
"""One fraction for all regions, or fractions by region, `*` for all others."""


@dataclass(frozen=True)
class ByRegion:
    """A fraction by region; `others` is that of all other regions, None if they have none."""

    others: float | None
    regions: Mapping[str, float]

    @classmethod
    def of(cls, stated: Fractions | None, *, default: float | None = None) -> ByRegion:
        """Read one fraction, or fractions by region."""
        if isinstance(stated, Mapping):
            regions = {name: value for name, value in stated.items() if name != ANY}
            return cls(stated.get(ANY, default), regions)
        return cls(default if stated is None else stated, {})

    def value(self, region: str) -> float | None:
        """Return the fraction of a region."""
        return self.regions.get(region, self.others)

    def to_json(self) -> dict[str, float]:
        """Return the stated fractions, `*` for all other regions."""
        return ({} if self.others is None else {ANY: self.others}) | dict(self.regions)

    def __str__(self) -> str:
        return ",".join(f"{value:g}" if name == ANY else f"{name}={value:g}" for name, value in self.to_json().items())


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What the gate allows, as fractions.

    Attributes:
        margin: Allowed growth of latency, bytes and MACs.
        drops: Allowed drop of accuracy.
        min_accuracy: Least headline metric of a candidate.
        min_recall: Least recall of each class or structure of a candidate.
        on_inconclusive: What an inconclusive verdict counts as, for the exit code.
    """

    margin: float
    drops: ByRegion = field(default_factory=lambda: ByRegion(DROP, {}))
    min_accuracy: ByRegion = field(default_factory=lambda: ByRegion(None, {}))
    min_recall: ByRegion = field(default_factory=lambda: ByRegion(None, {}))
    on_inconclusive: Verdict = "inconclusive"

    def allowed(self, region: str) -> float:
        """Return the allowed drop of a region."""
        found = self.drops.value(region)
        return DROP if found is None else found

    def check_regions(self, known: Iterable[str]) -> None:
        """Raise UsageError if a fraction is of an unknown region, where it would have no effect."""
        names = sorted(set(known))
        for option, limit in (
            ("--max-accuracy-drop", self.drops),
            ("--min-accuracy", self.min_accuracy),
            ("--min-recall", self.min_recall),
        ):
            for region, value in limit.regions.items():
                if region not in names:
                    raise UsageError(
                        f"{option} {region}={value:g}: no region '{region}'",
                        required=f"one of {', '.join(names)}",
                        fix="correct the name",
                    )


def limits_of(
    margin: float,
    drop: Fractions,
    max_seconds: float,
    on_inconclusive: str,
    *,
    min_accuracy: Fractions | None = None,
    min_recall: Fractions | None = None,
) -> Limits:
    """Validate the limits of the gate.

    Raises:
        UsageError: A fraction or a time out of range, or an unknown policy.
    """
    drops = ByRegion.of(drop, default=DROP)
    floors = ByRegion.of(min_accuracy), ByRegion.of(min_recall)
    inside = all(0 <= value < 1 for value in drops.to_json().values())
    if not (0 <= margin < 10 and inside and 0 < max_seconds < _LONGEST):
        raise UsageError(
            f"margin {margin}, accuracy drop {drops}, {max_seconds} s",
            required="fractions (0.03 is 3 %) and a time above 0 and below a day",
            fix="correct --margin, --max-accuracy-drop or --max-seconds",
        )
    if not all(0 < value <= 1 for floor in floors for value in floor.to_json().values()):
        raise UsageError(
            f"least accuracy {floors[0]}, least recall {floors[1]}",
            required="fractions above 0 and up to 1 (0.9 is 90 %)",
            fix="correct --min-accuracy or --min-recall",
        )
    policy = next((verdict for verdict in VERDICTS if verdict == on_inconclusive), None)
    if policy is None:
        raise UsageError(
            f"--on-inconclusive {on_inconclusive}", required=f"one of {', '.join(VERDICTS)}", fix="name one of them"
        )
    return Limits(margin=margin, drops=drops, min_accuracy=floors[0], min_recall=floors[1], on_inconclusive=policy)


def parse_fractions(option: str, text: str) -> Fractions:
    """Parse `0.02`, `chest=0.01,brain=0.02`, or `0.02,chest=0.01`; raise UsageError otherwise."""
    found: dict[str, float] = {}
    for entry in text.split(","):
        region, stated, value = entry.rpartition("=")
        name = region.strip() if stated else ANY
        try:
            number = float(value)
        except ValueError:
            number = float("nan")
        if not name or name in found or not 0 <= number <= 1:
            raise UsageError(
                f"{option} {text}",
                required="a fraction, or fractions by region such as 0.02,chest=0.01, each region once",
                fix="correct it",
            )
        found[name] = number
    return found[ANY] if set(found) == {ANY} else found
