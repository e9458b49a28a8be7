"""The stored choice of `auto` in `export`, read without torch by report, gate and predict."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lorkit.decompose.errors import ArtifactError
from lorkit.export.runtime.exported import Exported

if TYPE_CHECKING:
    from lorkit.decompose.documents.export_results import ExportChoice
    from lorkit.decompose.documents.report import TriedExport
    from lorkit.decompose.runs import Run

AUTO = "auto"
"""As target or precision: the fastest that is measured to be not worse."""
CANONICAL_TARGET = "onnx"
"""The target whose engine is the canonical ONNX file, from which the others are built."""


def record_path(run: Run, target: str, profile: str) -> Path:
    """Return the file with a run's choices under a `--target`, which may be `auto`."""
    return run.measurements_dir / f"choice-{target}-{profile}.json"


def is_chosen(run: Run, option: str, exported: Exported) -> bool:
    """Return whether an export is the choice of `auto` for its region under a `--target`."""
    region, target, profile, precision = exported.key
    block = recorded_regions(record_path(run, option, profile)).get(region)
    return block is not None and (block.target, block.precision) == (target, precision)


def tried_exports(run: Run) -> list[TriedExport]:
    """Return the trials of `auto` on a run, one row per region, target and precision, without raw samples.

    A pair that was tried under two options, such as `onnx` and `auto`, has a row for each.
    """
    from lorkit.decompose.documents.report import TriedExport

    return [
        TriedExport(
            region=region,
            target=row.target,
            profile=block.profile,
            precision=row.precision,
            verdict=row.verdict,
            reason=row.reason,
            ratio=None if row.latency_test is None else row.latency_test.ratio,
            ratio_ci=None if row.latency_test is None else row.latency_test.ci,
            drop=None if row.accuracy_test is None else row.accuracy_test.drop,
            drop_ci=None if row.accuracy_test is None else row.accuracy_test.ci,
        )
        for path in sorted(run.measurements_dir.glob("choice-*.json"))
        for region, block in recorded_regions(path).items()
        for row in block.candidates
    ]


def recorded_regions(path: Path) -> dict[str, ExportChoice]:
    """Return the regions of a record; empty if it is missing or damaged, since it can be measured again."""
    if not path.is_file():
        return {}
    from lorkit.decompose.documents.export_results import ChoiceRecord  # with the documents of the gate

    try:
        return ChoiceRecord.read(path).regions
    except ArtifactError:
        return {}


def export_preference(exported: Exported, run: Run | None) -> tuple[bool, bool, bool, int, bool, str, str]:
    """Return the sort key of a region's exports, the best last; `predict` and `gate` both use the best.

    Exports with checked parity are preferred, then in this order: the choice of `--target auto` for its profile; that
    of `--precision auto` for its target and profile; the target (`onnx`, the canonical file, then in the order of the
    profile); fp32; the newest. Names break ties.
    """
    _, target, profile, precision = exported.key
    best, lower = (run is not None and is_chosen(run, option, exported) for option in (AUTO, target))
    created = exported.manifest.created
    return exported.proven, best, lower, -_rank(target, profile), precision == "fp32", created, exported.path.name


def _rank(target: str, profile: str) -> int:
    """Return the rank of a target in a profile's order after the canonical one; the last if it is unknown."""
    from lorkit import profiles

    # a user's profile is a file that may not be here
    listed = profiles.load(profile).targets if profile in profiles.available() else ()
    order = [CANONICAL_TARGET, *(name for name in listed if name != CANONICAL_TARGET)]
    return order.index(target) if target in order else len(order)
