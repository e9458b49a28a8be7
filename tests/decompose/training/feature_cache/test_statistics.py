"""What the cache saved is told as it was measured."""

from __future__ import annotations

from typing import Any

from lorkit.decompose.training.feature_cache.statistics import cache_statistics, describe_statistics


def test_savings_say_only_what_was_seen() -> None:
    def row(asked: int, read: int, seconds: float) -> dict[str, Any]:
        kept = {"asked": asked, "read": read, "asked_seconds": asked / 10, "read_seconds": 0.1, "kept_bytes": 7}
        return {"phase": "rd-a", "seconds": seconds, "teacher": kept}

    (both,) = cache_statistics([row(10, 0, 4.0), row(5, 5, 3.0), row(0, 10, 1.0), row(0, 10, 3.0)])
    assert (both["asked_epoch_seconds"], both["read_epoch_seconds"], both["speed_up"]) == (4.0, 2.0, 2.0)
    assert both["asked_seconds"] == 1.0
    assert "2.00 times as fast" in describe_statistics(both)
    (reading,) = cache_statistics([row(0, 10, 1.0)])
    assert reading["speed_up"] is None
    assert "the speed-up is unknown" in describe_statistics(reading)
    (asking,) = cache_statistics([row(10, 0, 1.0)])
    assert "no time was saved yet" in describe_statistics(asking)
    assert cache_statistics([{"phase": "rd-a", "seconds": 1.0}]) == []
    assert both["kept_bytes"] == 28
