"""What a gate says where the foundation is no baseline that could run: nothing is judged, so nothing passes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from lorkit.decompose.artifacts import MANIFEST, read_manifest
from lorkit.decompose.runs import Run
from lorkit.export.exported import Exported
from lorkit.export.limits import Limits
from lorkit.export.noninferiority import undecided


def missing_baseline(run: Run | None) -> str | None:
    """Return why a run's foundation is not exported, in one line; None where it can be, or where there is none."""
    if run is None or not (run.foundation_dir / MANIFEST).is_file():
        return None
    extra = read_manifest(run.foundation_dir, verify=False).extra
    return str(extra["reason"]) if extra.get("exportable") is False else None


def unjudged_regions(candidates: Iterable[Exported], reason: str, limits: Limits) -> dict[str, Any]:
    """Return a block a region, INCONCLUSIVE, with the reason."""
    return {one.region: _block(one, reason, limits) for one in candidates}


def _block(candidate: Exported, reason: str, limits: Limits) -> dict[str, Any]:
    margin = limits.margin
    latency = {"verdict": "inconclusive", "ratio": None, "ci": None, "margin": margin, "pairs": 0, "noise_floor": None}
    costs: dict[str, Any] = {"verdict": "inconclusive", "margin": margin}
    for name, field in (("bytes", "size_bytes"), ("macs", "macs")):
        own = candidate.info.get(field)
        costs[name] = {"baseline": None, "candidate": own, "ratio": None, "verdict": "not_judged"}
    return {
        "verdict": "inconclusive",
        "latency": latency,
        "accuracy": undecided(candidate, limits.allowed(candidate.region)),
        "deterministic": costs,
        "budget": None,
        "reasons": [reason],
        "reasons_by_check": {"deterministic": [reason], "latency": [reason], "accuracy": [reason], "budget": []},
        "baseline": {**candidate.describe(), "path": None, "digest": None, "owner": "foundation"},
        "candidate": candidate.describe(),
    }
