"""What `export --precision auto` chose, as a run keeps it; read without torch, by report, gate and predict."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lorkit import profiles
from lorkit.decompose.artifacts import read_json
from lorkit.decompose.errors import ArtifactError
from lorkit.decompose.runs import Run
from lorkit.export.runtime.exported import Exported

CANONICAL_TARGET = "onnx"
"""The target whose engine is the canonical file itself: every runtime takes it, and the others are built from it."""


def record_path(run: Run, target: str, profile: str) -> Path:
    """Return where a run keeps what was measured to choose its precisions."""
    return run.measurements_dir / f"precision-{target}-{profile}.json"


def chosen_precision(run: Run, target: str, profile: str, region: str) -> str | None:
    """Return what `auto` chose for a region, None where it was not asked."""
    block = recorded_regions(record_path(run, target, profile)).get(region)
    return None if block is None else str(block["chosen"])


def precision_trials(run: Run) -> list[dict[str, Any]]:
    """Return what was tried on a run, one row per region, target and precision, without raw samples."""
    rows: list[dict[str, Any]] = []
    for path in sorted(run.measurements_dir.glob("precision-*.json")):
        for region, block in recorded_regions(path).items():
            for row in block["candidates"]:
                latency, accuracy = row["latency"] or {}, row["accuracy"] or {}
                rows.append(
                    {
                        "region": region,
                        "target": block["target"],
                        "profile": block["profile"],
                        **{name: row[name] for name in ("precision", "verdict", "reason")},
                        "ratio": latency.get("ratio"),
                        "ratio_ci": latency.get("ci"),
                        "drop": accuracy.get("drop"),
                        "drop_ci": accuracy.get("ci"),
                    }
                )
    return rows


def recorded_regions(path: Path) -> dict[str, dict[str, Any]]:
    """Return the regions of a record; one that is absent or damaged holds none, and is measured again."""
    try:
        found = read_json(path, kind="precision").get("regions") if path.is_file() else None
    except ArtifactError:
        found = None
    whole = {"target", "profile", "chosen", "candidates", "conditions"}
    rows = {"precision", "verdict", "reason", "latency", "accuracy"}
    return {
        name: block
        for name, block in (found.items() if isinstance(found, dict) else ())
        if isinstance(block, dict)
        and whole <= block.keys()
        and isinstance(block["candidates"], list)
        and all(isinstance(row, dict) and rows <= row.keys() for row in block["candidates"])
        and all(isinstance(row[name], dict | None) for row in block["candidates"] for name in ("latency", "accuracy"))
    }


def export_preference(exported: Exported, run: Run | None) -> tuple[bool, bool, int, bool, str, str]:
    """Return what orders the exports of one region, the best last; `predict` and `gate` both take the best.

    What was proven here comes before what was not. Then what `auto` chose for its target and profile; the target
    (`onnx`, the canonical file, then the others as the profile lists them); fp32; the newest. Names end a tie.
    """
    region, target, profile, precision = exported.key
    chosen = None if run is None else chosen_precision(run, target, profile, region)
    created = exported.manifest.created
    rank = _rank(target, profile)
    return exported.proven, precision == chosen, -rank, precision == "fp32", created, exported.path.name


def _rank(target: str, profile: str) -> int:
    """Return the place of a target in a profile's order behind the canonical one; the last where it is unknown."""
    # a user's own profile is known by its file, which an export need not lie beside
    listed = profiles.load(profile).targets if profile in profiles.available() else ()
    order = [CANONICAL_TARGET, *(name for name in listed if name != CANONICAL_TARGET)]
    return order.index(target) if target in order else len(order)
