"""Build the exports of one call that are not up to date.

What builds and measures is imported when something is to be built: exports that are up to date need no torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from lorkit.decompose.artifacts import is_current, staged_directory, write_manifest
from lorkit.decompose.documents.export_results import ExportChoice, ExportResult
from lorkit.decompose.documents.heads import MIXTURES
from lorkit.decompose.events import Listener, Working, ignore
from lorkit.export.building.identity import inputs_digest
from lorkit.export.building.job import BASELINE, ExportJob, export_jobs
from lorkit.export.building.sources import ExportableNetwork
from lorkit.export.runtime.exported import read_exported
from lorkit.export.runtime.preference import CANONICAL_TARGET

if TYPE_CHECKING:
    from lorkit.export.building.builder import ExportSession
    from lorkit.export.building.choice import AutoExport


class Exporter:
    """Builds each export of one call once."""

    def __init__(self, on_event: Listener = ignore, *, force: bool = False) -> None:
        self.on_event, self.force = on_event, force
        self._done: dict[Path, ExportResult] = {}

    @cached_property
    def session(self) -> ExportSession:
        """What the exports of this call share."""
        from lorkit.export.building.builder import ExportSession

        return ExportSession(self.on_event)

    def export(self, source: ExportableNetwork, job: ExportJob) -> ExportResult:
        """Build an export if it is not up to date."""
        directory = source.home / job.name
        if directory not in self._done:
            self._done[directory] = self._export(source, job, directory)
        return self._done[directory]

    def _export(self, source: ExportableNetwork, job: ExportJob, directory: Path) -> ExportResult:
        key = inputs_digest(source, job)
        current = not self.force and is_current(directory, "export", key)
        if not current:
            _write_export(source, job, self.session, directory, key)
        info = read_exported(directory).info
        return ExportResult(
            path=directory,
            owner=source.owner,
            region=source.region.name,
            target=job.target.name,
            profile=job.profile.name,
            precision=job.precision,
            parity=info.parity,
            size_bytes=info.size_bytes,
            up_to_date=current,
            choice=None,
        )

    def automatic(
        self, source: ExportableNetwork, asked: AutoExport, chosen: dict[str, ExportChoice]
    ) -> list[ExportResult]:
        """Choose the export of an expert, and note it in `chosen`; export what it is compared with alike."""
        from lorkit.export.building.choice import choose_export

        if source.owner == "expert":
            choice = choose_export(source, asked, self.build, self.session.splits, force=self.force)
            chosen[source.region.name] = choice
            return [self.export(source, job).with_changes(choice=choice) for job in asked.kept(choice)]
        choices = [chosen[name] for name in (source.region.name, *MIXTURES) if name in chosen]
        return self.counterparts(source, asked.kept(*choices))

    def reference(
        self, source: ExportableNetwork, profile: str | None, known: Sequence[ExportResult]
    ) -> list[ExportResult]:
        """Export a network as it was given, which its other exports are compared with, unless that is among `known`."""
        (job,) = export_jobs(CANONICAL_TARGET, profile, BASELINE)
        found = self.export(source, job)
        return [] if any(one.path == found.path for one in known) else [found]

    def build(self, source: ExportableNetwork, job: ExportJob) -> Path:
        """Build an export if it is not up to date, and return its directory."""
        return self.export(source, job).path

    def counterparts(self, source: ExportableNetwork, jobs: Sequence[ExportJob]) -> list[ExportResult]:
        """Export a network that an expert is compared with; lower precisions that cannot be built are reported."""
        from lorkit.export.building.choice import BUILD_ERRORS

        results = []
        for job in jobs:
            try:
                results.append(self.export(source, job))
            except BUILD_ERRORS as error:
                if job is jobs[0]:
                    raise
                at = f"at {job.precision}" if job.target is jobs[0].target else f"to {job.target.name} {job.precision}"
                text = f"{source.owner} of {source.region.name} is not exported {at}: {error}"
                self.on_event(Working(text, 0, 1))
        return results


def _write_export(source: ExportableNetwork, job: ExportJob, session: ExportSession, directory: Path, key: str) -> None:
    from lorkit.export.building.builder import build_export

    with staged_directory(directory) as staging:
        build_export(source, job, session, staging)
        extra = {"owner": source.owner, "region": source.region.name, "target": job.target.name}
        write_manifest(
            staging,
            "export",
            synthetic=source.synthetic,
            parent=source.parent,
            inputs=key,
            extra=extra | {"profile": job.profile.name, "precision": job.precision, "run": source.run_digest},
        )
