"""`metrics.jsonl`: one row per epoch and phase of a training."""

from __future__ import annotations

from pydantic import JsonValue

from lorkit.decompose.documents.base import Part


class CacheFigures(Part):
    """What the cache of the teacher's features did in one epoch."""

    asked: int
    """Images that the teacher was asked for."""
    read: int
    """Images whose features were read."""
    asked_seconds: float
    read_seconds: float
    kept_bytes: int


class CacheStatistics(Part):
    """What a cache of the teacher's features saved in one phase: epochs that asked the teacher against those that read.

    Seconds are means per epoch, and null where there is no such epoch.
    """

    phase: str
    asked_epochs: int
    asked_epoch_seconds: float | None
    asked_seconds: float | None
    read_epochs: int
    read_epoch_seconds: float | None
    read_seconds: float | None
    kept_bytes: int
    speed_up: float | None


class EpochRow(Part):
    """One epoch: losses by term and region, the validation metric by region, and how fast it was."""

    phase: str
    epoch: int
    loss: dict[str, dict[str, float | None]]
    metric: str | None = None
    val: dict[str, JsonValue]
    """The metric by region under its name, and `mean`."""
    lr: float | None = None
    seconds: float | None = None
    images_per_second: float | None = None
    loader_images_per_second: float | None = None
    memory_mib: float | None = None
    teacher: CacheFigures | None = None
    gradient_cosine: float | None = None
