"""Costs in a gate: counted ones beside the baseline's, and the limits of a profile."""

from __future__ import annotations

from typing import Literal

from lorkit.decompose.documents.base import Part, Verdict


class Cost(Part):
    """A number that is read from both files."""

    baseline: int | None
    candidate: int | None
    ratio: float | None
    verdict: Literal["pass", "fail", "not_judged", "stated"]


class Dtypes(Part):
    """Bytes of the weights by number format."""

    baseline: dict[str, int] | None
    candidate: dict[str, int] | None
    verdict: Literal["stated"]


class Deterministic(Part):
    """Costs that are counted, not timed. Bytes and MACs are judged, the others are only reported."""

    verdict: Verdict
    margin: float
    bytes: Cost
    macs: Cost
    nodes: Cost | None = None
    peak_activation_bytes: Cost | None = None
    dtypes: Dtypes | None = None


class Bounded(Part):
    """A measurement with its 95 % bounds and the limit of the profile."""

    budget: float
    bounds: tuple[float | None, float | None]
    samples: int | None = None
    threads: int | None = None
    verdict: Verdict
    samples_ms: list[float] = []


class Budget(Part):
    """The limits of the profile for its hardware."""

    verdict: Verdict | Literal["not_applicable"]
    profile: str
    limits: dict[str, float]
    p95_ms: Bounded | None = None
    peak_mib: Bounded | None = None
