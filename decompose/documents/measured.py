"""Parts of several documents: the measured export, and ratios of paired timings."""

from __future__ import annotations

from lorkit.decompose.documents.base import Digest, Interval, Owner, Part
from lorkit.decompose.regions import Case


class Subject(Part):
    """The measured export; path and digest are null if nothing was exported."""

    path: str | None
    digest: Digest | None
    owner: Owner
    region: str
    target: str
    profile: str
    precision: str
    case: Case = "image"
    """What the network takes."""


class Ratio(Part):
    """Candidate time over baseline time: exponential of the median paired log-ratio."""

    ratio: float
    ci: Interval
    level: float
    """Confidence of the interval, corrected for repeated looks."""
    pairs: int

    @property
    def deviation(self) -> float:
        """Largest distance of the interval from 1; for identical engines this is the noise."""
        return max(self.ci[1] - 1.0, 1.0 - self.ci[0])


class Timings(Part):
    """Milliseconds of the three engines of a latency test, in the order of measurement."""

    baseline: list[float]
    candidate: list[float]
    control: list[float]


class Medians(Part):
    """Median milliseconds of the three engines of a latency test."""

    baseline: float
    candidate: float
    control: float
