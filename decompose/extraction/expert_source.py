"""The source that an extracted network states."""

from __future__ import annotations

from collections.abc import Sequence

from lorkit import __version__
from lorkit.decompose.documents.expert import ExpertSource
from lorkit.decompose.runs import Run


def source_of(run: Run, regions: Sequence[str]) -> ExpertSource:
    """Return the run that a network of some regions is extracted from, its teachers there, and this version."""
    source = ExpertSource(
        run=run.id,
        run_manifest=run.manifest.digest,
        method=run.config.method,
        foundation_backbone=run.config.foundation.backbone if run.has_foundation else None,
        student_weights=run.manifest.extra.get("student", {}).get("weights"),
        lorkit=__version__,
    )
    teachers = run.teachers(regions)
    return source.with_changes(teachers=teachers) if teachers else source


def from_teachers(source: ExpertSource) -> str:
    """Return what each of several teachers was worth, to end a list; empty for the foundation alone."""
    told = [
        f"{row.backbone} ({', '.join(f'{name} {share:.2f}' for name, share in row.share.items())})"
        for row in source.teachers
    ]
    return f", teachers with their shares by validation {', '.join(told)}" if told else ""
