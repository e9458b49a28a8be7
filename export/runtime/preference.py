"""The stored choice of `export --precision auto`, read without torch by report, gate and predict."""

from __future__ import annotations

from pathlib import Path

from lorkit import profiles
from lorkit.decompose.documents.export import PrecisionChoice, PrecisionRecord
from lorkit.decompose.documents.report import TriedPrecision
from lorkit.decompose.errors import ArtifactError
from lorkit.decompose.runs import Run
from lorkit.export.runtime.exported import Exported

CANONICAL_TARGET = "onnx"
"""The target whose engine is the canonical ONNX file, from which the others are built."""


def record_path(run: Run, target: str, profile: str) -> Path:
    """Return the file with a run's choices of precision."""
    return run.measurements_dir / f"precision-{target}-{profile}.json"


def chosen_precision(run: Run, target: str, profile: str, region: str) -> str | None:
    """Return the choice of `auto` for a region; None if there is none."""
    block = recorded_regions(record_path(run, target, profile)).get(region)
    return None if block is None else block.precision


def precision_trials(run: Run) -> list[TriedPrecision]:
    """Return the trials of `auto` on a run, one row per region, target and precision, without raw samples."""
    return [
        TriedPrecision(
            region=region,
            target=block.target,
            profile=block.profile,
            precision=row.precision,
            verdict=row.verdict,
            reason=row.reason,
            ratio=None if row.latency_test is None else row.latency_test.ratio,
            ratio_ci=None if row.latency_test is None else row.latency_test.ci,
            drop=None if row.accuracy_test is None else row.accuracy_test.drop,
            drop_ci=None if row.accuracy_test is None else row.accuracy_test.ci,
        )
        for path in sorted(run.measurements_dir.glob("precision-*.json"))
        for region, block in recorded_regions(path).items()
        for row in block.candidates
    ]


def recorded_regions(path: Path) -> dict[str, PrecisionChoice]:
    """Return the regions of a record; empty if it is missing or damaged, since it can be measured again."""
    try:
        return PrecisionRecord.read(path).regions if path.is_file() else {}
    except ArtifactError:
        return {}


def export_preference(exported: Exported, run: Run | None) -> tuple[bool, bool, int, bool, str, str]:
    """Return the sort key of a region's exports, the best last; `predict` and `gate` both use the best.

    Exports with checked parity are preferred, then in this order: the choice of `auto` for its target and profile; the
    target (`onnx`, the canonical file, then in the order of the profile); fp32; the newest. Names break ties.
    """
    region, target, profile, precision = exported.key
    chosen = None if run is None else chosen_precision(run, target, profile, region)
    created = exported.manifest.created
    rank = _rank(target, profile)
    return exported.proven, precision == chosen, -rank, precision == "fp32", created, exported.path.name


def _rank(target: str, profile: str) -> int:
    """Return the rank of a target in a profile's order after the canonical one; the last if it is unknown."""
    # a user's profile is a file that may not be here
    listed = profiles.load(profile).targets if profile in profiles.available() else ()
    order = [CANONICAL_TARGET, *(name for name in listed if name != CANONICAL_TARGET)]
    return order.index(target) if target in order else len(order)
