"""A row of the report's table: costs and accuracy of an export, or of a network that is not exported."""

from __future__ import annotations

from typing import Literal

from lorkit.decompose.documents.base import Digest, Interval, Owner, Part, Share
from lorkit.decompose.documents.bench import EndToEnd
from lorkit.decompose.documents.heads import HeadPolicy, MixtureForm
from lorkit.decompose.documents.mask_scores import Unit
from lorkit.decompose.documents.verify import ParityBlock


class ReportedLatency(Part):
    """Latency at batch 1 on one thread."""

    median_ms: float
    p90_ms: float | None
    p99_ms: float | None
    throughput: float
    peak_mib: float | None
    load_ms: float | None
    batch: int
    threads: int | None
    provider: str | None
    end_to_end: EndToEnd | None = None
    """From a file to the answer; null where that was not measured."""


class MixtureRow(Part):
    """An export of a network for several regions."""

    name: MixtureForm
    region_names: list[str]
    policy: HeadPolicy
    abstain_below: Share | None
    parameters: int | None
    macs: int | None
    size_bytes: int
    target: str
    profile: str
    precision: str
    parity: ParityBlock
    path: str
    """Path in the run."""
    digest: Digest
    latency: ReportedLatency | None
    commands: list[str]


class ReportRow(Part):
    """Costs and accuracy of an export, or of a network that is not exported."""

    region: str
    owner: Owner
    source: str | None
    scored: Literal["network", "export"] | None
    """Source of the metrics."""
    n: int | None
    accuracy: Share | None = None
    balanced_accuracy: Share | None = None
    auroc: Share | None = None
    ece: Share | None = None
    ap: Share | None = None
    recall_at_k: Share | None = None
    f1_macro: Share | None = None
    gmean: Share | None = None
    dice: Share | None = None
    nsd: Share | None = None
    hd95: float | None = None
    unit: Unit | None = None
    """Of `hd95`."""
    headline: Share | None = None
    """The headline metric of the region's task, where a run has several tasks."""
    ci: dict[str, Interval | None]
    parameters: int | None
    macs: int | None
    size_bytes: int | None
    target: str | None
    profile: str | None
    precision: str | None
    opset: int | None
    nodes: int | None
    parity: ParityBlock | None
    path: str | None
    """Path in the run."""
    digest: Digest | None
    latency: ReportedLatency | None
    commands: list[str]
    """Commands to check, time and use it."""

    def value(self, metric: str) -> float | None:
        """Return a metric by name; None if it is undefined or of another task."""
        found: float | None = getattr(self, metric, None)
        return found
