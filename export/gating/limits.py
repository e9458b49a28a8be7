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


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Allowed growth of costs and drop of accuracy, as fractions.

    Attributes:
        margin: Allowed growth of latency, bytes and MACs.
        drop: Allowed drop of accuracy in regions that are not in `drops`.
        drops: Allowed drop by region.
        on_inconclusive: What an inconclusive verdict counts as, for the exit code.
    """

    margin: float
    drop: float = DROP
    drops: Mapping[str, float] = field(default_factory=dict)
    on_inconclusive: Verdict = "inconclusive"

    def allowed(self, region: str) -> float:
        """Return the allowed drop of a region."""
        return self.drops.get(region, self.drop)

    def check_regions(self, known: Iterable[str]) -> None:
        """Raise UsageError if `drops` names an unknown region, where it would have no effect."""
        names = sorted(set(known))
        for region in self.drops:
            if region not in names:
                raise UsageError(
                    f"--max-accuracy-drop {region}={self.drops[region]:g}: no region '{region}'",
                    required=f"one of {', '.join(names)}",
                    fix="correct the name",
                )


def limits_of(margin: float, drop: float | Mapping[str, float], max_seconds: float, on_inconclusive: str) -> Limits:
    """Validate the limits of the gate.

    Raises:
        UsageError: A fraction or a time out of range, or an unknown policy.
    """
    drops = dict(drop) if isinstance(drop, Mapping) else {ANY: drop}
    if not (0 <= margin < 10 and all(0 <= value < 1 for value in drops.values()) and 0 < max_seconds < _LONGEST):
        stated = ", ".join(f"{value:g}" for value in drops.values())
        raise UsageError(
            f"margin {margin}, accuracy drop {stated}, {max_seconds} s",
            required="fractions (0.03 is 3 %) and a time above 0 and below a day",
            fix="correct --margin, --max-accuracy-drop or --max-seconds",
        )
    policy = next((verdict for verdict in VERDICTS if verdict == on_inconclusive), None)
    if policy is None:
        raise UsageError(
            f"--on-inconclusive {on_inconclusive}", required=f"one of {', '.join(VERDICTS)}", fix="name one of them"
        )
    default = drops.pop(ANY, DROP)
    return Limits(margin=margin, drop=default, drops=drops, on_inconclusive=policy)


def parse_drops(text: str) -> float | dict[str, float]:
    """Parse allowed drops: `0.02`, `chest=0.01,brain=0.02`, or `0.02,chest=0.01`; raise UsageError otherwise."""
    found: dict[str, float] = {}
    for entry in text.split(","):
        region, stated, value = entry.rpartition("=")
        name = region.strip() if stated else ANY
        try:
            number = float(value)
        except ValueError:
            number = float("nan")
        if not name or name in found or not 0 <= number < 1:
            raise UsageError(
                f"--max-accuracy-drop {text}",
                required="a fraction, or fractions by region such as 0.02,chest=0.01, each region once",
                fix="correct it",
            )
        found[name] = number
    return found[ANY] if set(found) == {ANY} else found
