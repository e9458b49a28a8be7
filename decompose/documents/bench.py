"""The result of `decompose bench`: one row per export and setting."""

from __future__ import annotations

from typing import Literal

from lorkit.decompose.documents.base import Document, Part, Tools
from lorkit.decompose.documents.measured import Ratio, Subject
from lorkit.decompose.documents.predict import VolumeCosts
from lorkit.decompose.machine import Machine


class EndToEnd(Part):
    """Median times from the file of one image to the prediction."""

    input: str
    n: int
    read_ms: float
    prepare_ms: float
    engine_ms: float
    answer_ms: float
    total_ms: float
    volume: VolumeCosts | None = None
    """Of a volume that the network takes window by window: every stage until its mask is written, and the memory of
    this process."""


class TimingSummary(Part):
    """An engine's timings under one setting; p90 and p99 are null if there are too few samples."""

    batch: int
    threads: int | None
    """Null: the runtime's choice."""
    median_ms: float
    p90_ms: float | None
    p99_ms: float | None
    p90_bound_ms: float | None = None
    """Upper 95 % bound of the percentile, by order statistics."""
    p99_bound_ms: float | None = None
    """Upper 95 % bound of the percentile, by order statistics."""
    throughput: float
    """Images per second."""
    samples_ms: list[float]


class DeviceTimes(Part):
    """Times of the GPU itself."""

    device_median_ms: float | None = None
    """Measured by CUDA events; null without them, with the reason in device_note."""
    device_samples_ms: list[float] | None = None
    device_note: str | None = None


class BenchRow(DeviceTimes, TimingSummary, Subject):
    """Latency and memory of an export under one setting."""

    peak_mib: float | None
    """Increase of the process's peak memory by loading and running."""
    process_mib: float | None = None
    """Peak memory of the whole process, with interpreter and libraries."""
    load_ms: float | None = None
    first_ms: float | None = None
    """The first inference after loading."""
    end_to_end: EndToEnd | None = None
    """Null for batches."""
    energy_mj: float | None = None
    """Millijoules per image, from the GPU's counter; null without one."""
    size_bytes: int
    provider: str | None = None
    runs_per_sample: int | None = None
    measured: str | None = None
    options: list[str] | None = None
    """Options of `bench` that differ from their defaults, of files outside the run only the name; null if `report`
    measured it, or a call from Python with another number of samples."""


class BenchComparison(Ratio):
    """An export against the reference, timed interleaved."""

    path: str
    against: str
    batch: int
    threads: int | None


class BenchDocument(Document):
    """Measurements of `decompose bench`."""

    kind: Literal["bench"] = "bench"
    created: str
    machine: Machine
    tools: Tools
    exports: list[BenchRow]
    comparisons: list[BenchComparison]
