"""Savings of the cache, from a run's metrics: epochs that ran the teacher against epochs that read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from statistics import fmean

from lorkit.decompose.events import CacheStatistics, EpochRow

# An epoch draws whole batches, so a few images of a pass are in the next one.
_NEARLY = 0.1


def cache_statistics(history: Iterable[EpochRow]) -> list[CacheStatistics]:
    """Return one row per phase with a cache.

    Compared are epochs that ran the teacher for nearly every image and epochs that read nearly every one; others are
    ignored. The first epoch of a phase also warms up, so the ratio is somewhat too high; the seconds of the teacher
    alone are given too.

    Args:
        history: Rows of `metrics.jsonl`.
    """
    kept = [row for row in history if "teacher" in row]
    return [_of_phase(name, list(rows)) for name, rows in groupby(kept, key=lambda row: row["phase"])]


def describe_statistics(row: CacheStatistics) -> str:
    """Return a row of `cache_statistics` as a sentence."""
    head = f"{row['phase']}: teacher cache"
    reading = f"{_n(row['read_epochs'])} with stored features took {_s(row['read_epoch_seconds'])}"
    if row["read_epochs"]:
        reading += f" on average ({_s(row['read_seconds'])} of it reading)"
    asking = f"{_n(row['asked_epochs'])} with the teacher took {_s(row['asked_epoch_seconds'])}"
    if row["asked_epochs"]:
        asking += f" on average ({_s(row['asked_seconds'])} of it the teacher)"
    if row["speed_up"] is not None:
        return f"{head}: {asking}, {reading}: {row['speed_up']:.2f} times as fast"
    if row["read_epochs"]:
        return f"{head}: {reading}; no epoch of this run used the teacher throughout, so the speed-up is unknown"
    return f"{head}: {asking}; no epoch found all features, so no time was saved yet"


def _of_phase(name: str, rows: Sequence[EpochRow]) -> CacheStatistics:
    asked = [row for row in rows if _share(row) >= 1 - _NEARLY]
    read = [row for row in rows if _share(row) <= _NEARLY]
    slow, fast = _mean(row["seconds"] for row in asked), _mean(row["seconds"] for row in read)
    return {
        "phase": name,
        "asked_epochs": len(asked),
        "asked_epoch_seconds": slow,
        "asked_seconds": _mean(row["teacher"]["asked_seconds"] for row in asked),
        "read_epochs": len(read),
        "read_epoch_seconds": fast,
        "read_seconds": _mean(row["teacher"]["read_seconds"] for row in read),
        "kept_bytes": sum(row["teacher"]["kept_bytes"] for row in rows),
        "speed_up": round(slow / fast, 3) if slow and fast else None,
    }


def _share(row: EpochRow) -> float:
    asked, read = row["teacher"]["asked"], row["teacher"]["read"]
    return float(asked / max(asked + read, 1))


def _mean(values: Iterable[float]) -> float | None:
    found = list(values)
    return round(fmean(found), 4) if found else None


def _n(epochs: int) -> str:
    return f"{epochs} epoch{'s' * (epochs != 1)}"


def _s(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds:.3g} s"
