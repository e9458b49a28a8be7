"""The source that an extracted network states."""

from __future__ import annotations

from lorkit import __version__
from lorkit.decompose.documents.expert import ExpertSource
from lorkit.decompose.runs import Run


def source_of(run: Run) -> ExpertSource:
    """Return the run that a network is extracted from, and this version."""
    return ExpertSource(
        run=run.id,
        run_manifest=run.manifest.digest,
        method=run.config.method,
        foundation=run.config.foundation.backbone if run.has_foundation else None,
        student_weights=run.manifest.extra.get("student", {}).get("weights"),
        lorkit=__version__,
    )
