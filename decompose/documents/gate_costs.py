"""Costs in a gate: counted ones beside the baseline's, and the limits of a profile."""

from __future__ import annotations

from typing import Literal

from lorkit.decompose.documents.base import Part, Verdict

CostName = Literal["bytes", "macs", "nodes", "peak_activation_bytes"]


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
    costs: dict[CostName, Cost]
    """Nodes and the peak are absent without a baseline."""
    weight_bytes: Dtypes | None = None
    """Of the weights by number format."""


class Bounded(Part):
    """A measurement with its 95 % bounds and the limit of the profile."""

    limit: float
    bounds: tuple[float | None, float | None]
    n: int | None = None
    """Timed inferences."""
    threads: int | None = None
    verdict: Verdict
    samples_ms: list[float] = []


class Budget(Part):
    """The limits of the profile for its hardware."""

    verdict: Verdict | Literal["not_applicable"]
    profile: str
    limits: dict[str, float]
    measurements: dict[str, Bounded] = {}
    """By the name of their limit."""
