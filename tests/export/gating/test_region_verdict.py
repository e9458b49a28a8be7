"""One region at the gate."""

from __future__ import annotations

from lorkit.export.gating.region_verdict import worst


def test_the_worst_verdict_wins() -> None:
    assert worst(["pass", "pass"]) == "pass"
    assert worst(["pass", "inconclusive"]) == "inconclusive"
    assert worst(["inconclusive", "fail", "pass"]) == "fail"
