"""Export networks to a target: one directory each, checked against its source, with a standalone example."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from lorkit import profiles
from lorkit.decompose.artifacts import is_current, staged_directory, write_manifest
from lorkit.decompose.documents.export import ExportDocument, ExportResult, PrecisionChoice
from lorkit.decompose.documents.heads import MIXTURES
from lorkit.decompose.errors import UsageError, unknown
from lorkit.decompose.events import Listener, Working, ignore
from lorkit.decompose.machine import fingerprint
from lorkit.decompose.runs import OWNERS, open_run
from lorkit.decompose.runs.store import missing_baseline
from lorkit.export.building.auto_precision import AUTO, BASELINE, BUILD_ERRORS, AutoPrecisionLimits, choose_precision
from lorkit.export.building.builder import ExportSession, build_export, inputs_digest
from lorkit.export.building.elsewhere import missing_here
from lorkit.export.building.job import ExportJob
from lorkit.export.building.sources import ExportableNetwork, networks_at, networks_of_run
from lorkit.export.runtime.exported import read_exported
from lorkit.export.targets import TARGETS, Target, get_target
from lorkit.export.targets.base import NODES, SINGLE, NetworkForm


def export(
    path: Path | str | None = None,
    *,
    run: Path | str | None = None,
    region: str | None = "all",
    target: str = "onnx",
    profile: str | None = None,
    precision: str = "fp32",
    force: bool = False,
    allow_synthetic: bool = False,
    owners: Sequence[str] = OWNERS,
    out: Path | None = None,
    max_accuracy_drop: float = 0.02,
    max_seconds: float = 20.0,
    on_event: Listener = ignore,
) -> ExportDocument:
    """Export extracted experts, and the foundation model and student without experts for comparison.

    Args:
        path: A run or an expert directory; an expert outside of its run is exported into itself.
        run: A run by id or path without `path`; the newest by default.
        region: Names separated by commas, or "all".
        target: Name of a target.
        profile: Hardware profile; the detected one by default, or the target's default if that is a CPU.
        precision: Precision of the graph; `auto` measures all precisions of target and profile on the experts, and uses
            a lower one if it is faster and not worse. Foundation and student are exported at the precision of their
            region's expert, and at fp32.
        force: Rebuild exports that are up to date.
        allow_synthetic: Allow networks trained on drawn images for a serving target.
        owners: Which networks of a run.
        out: Directory instead of the run's or expert's `exports/`.
        max_accuracy_drop: Allowed drop of a lower precision under `auto`, a fraction.
        max_seconds: Time under `auto` for the latency of one candidate.
        on_event: Receives progress.

    Returns:
        The exports that were built or up to date, experts first.

    Raises:
        UsageError: Unknown region, target, profile or precision, invalid limits, or no extracted expert.
        ArtifactError: A serving target and a network trained on drawn images, without `allow_synthetic`.
        ParityError: An engine does not reproduce its source's outputs; it is deleted.
        MissingRuntimeError: The target cannot be built here. The ONNX files for it, and of `trt` a `build.sh`, are
            exported, and the message names them. For `trt` or `torch-trt` and the profile of a CPU nothing is exported.
    """
    limits = _limits(max_accuracy_drop, max_seconds)
    jobs = [replace(job, allow_synthetic=allow_synthetic) for job in _export_jobs(target, profile, precision)]
    if path is None:
        sources = networks_of_run(open_run(run), region, owners, out)
    else:
        sources = networks_at(Path(path), region, owners, out)
    named = region is not None and any(name in MIXTURES for name in region.split(","))
    sources = _supported(sources, jobs[0].target, named=named, on_event=on_event)
    for reason in dict.fromkeys(missing_baseline(source.run) for source in sources):
        if reason is not None and "foundation" in owners:
            on_event(Working(reason, 0, len(sources)))
    exporter, results = _Exporter(on_event, force=force), list[ExportResult]()
    chosen: dict[str, PrecisionChoice] = {}
    for done, source in enumerate(sources):
        name = f"{source.region.name} ({source.owner})"
        on_event(Working(name, done, len(sources)))
        for stale in filter(None, (job.outdated(source.home / job.name) for job in jobs)):
            on_event(Working(f"{name} is built again: {stale}", done, len(sources)))
        if precision != AUTO:
            results.append(exporter.export(source, jobs[0]))
        elif source.owner == "expert":
            choice = choose_precision(source, jobs, limits, exporter.build, exporter.session.splits, force=force)
            chosen[source.region.name] = choice
            results += [exporter.export(source, job).with_changes(choice=choice) for job in _jobs_to_keep(jobs, choice)]
        else:
            names = (source.region.name, *MIXTURES)
            results += exporter.counterparts(source, _jobs_to_keep(jobs, *(chosen.get(name) for name in names)))
    on_event(Working("exported", len(sources), len(sources)))
    if not jobs[0].target.available(jobs[0].profile).ok:
        raise missing_here(sources, results, jobs[0], region)
    return ExportDocument(exports=results)


class _Exporter:
    """Builds each export of one call once."""

    def __init__(self, on_event: Listener, *, force: bool) -> None:
        self.session, self.force = ExportSession(on_event), force
        self._done: dict[Path, ExportResult] = {}

    def export(self, source: ExportableNetwork, job: ExportJob) -> ExportResult:
        """Build an export if it is not up to date."""
        directory = source.home / job.name
        if directory not in self._done:
            self._done[directory] = _export_one(source, job, self.session, directory, force=self.force)
        return self._done[directory]

    def build(self, source: ExportableNetwork, job: ExportJob) -> Path:
        """Build an export if it is not up to date, and return its directory."""
        return self.export(source, job).path

    def counterparts(self, source: ExportableNetwork, jobs: Sequence[ExportJob]) -> list[ExportResult]:
        """Export a network that an expert is compared with; lower precisions that cannot be built are reported."""
        results = []
        for job in jobs:
            try:
                results.append(self.export(source, job))
            except BUILD_ERRORS as error:
                if job.precision == BASELINE:
                    raise
                text = f"{source.owner} of {source.region.name} is not exported at {job.precision}: {error}"
                self.session.on_event(Working(text, 0, 1))
        return results


def _limits(max_accuracy_drop: float, max_seconds: float) -> AutoPrecisionLimits:
    if not (0 <= max_accuracy_drop < 1 and 0 < max_seconds < float("inf")):
        raise UsageError(
            f"an accuracy drop of {max_accuracy_drop} and {max_seconds} s",
            required="a fraction (0.02 is two points) and a time above 0",
            fix="correct --max-accuracy-drop or --max-seconds",
        )
    return AutoPrecisionLimits(max_accuracy_drop=max_accuracy_drop, seconds=max_seconds)


def _jobs_to_keep(jobs: Sequence[ExportJob], *choices: PrecisionChoice | None) -> list[ExportJob]:
    kept = {BASELINE, *(choice.precision for choice in choices if choice is not None)}
    return [job for job in jobs if job.precision in kept]


def _supported(
    sources: Sequence[ExportableNetwork], target: Target, *, named: bool, on_event: Listener
) -> list[ExportableNetwork]:
    """Return the networks that a target takes.

    Raises:
        UsageError: A network that was named is of a form that the target does not take.
    """
    refused = [source for source in sources if _form(source) not in target.forms]
    for source in refused:
        name, able = source.region.name, [name for name, one in TARGETS.items() if _form(source) in one.forms]
        given = f"target {target.name} takes one input and one output, and {name} has several"
        if _form(source) == NODES:
            given = f"target {target.name} takes images, and {name} is of the nodes of a graph"
        elif SINGLE not in target.forms:
            given = f"target {target.name} takes networks of all regions by region id, and {name} is none"
        if named or len(refused) == len(sources):
            raise UsageError(
                given, required=f"one of {', '.join(able)}", fix="name it with --target, or export other networks"
            )
        on_event(Working(f"not exported: {given}", 0, len(sources)))
    return [source for source in sources if source not in refused]


def _form(source: ExportableNetwork) -> NetworkForm:
    if source.mixture is not None:
        return source.mixture.form
    return SINGLE if source.recipe.nodes is None else NODES


def detected_profile(name: str | None) -> profiles.Profile:
    """Return a profile by name, or that of this machine; raise UsageError for an unknown name."""
    try:
        return profiles.load(name) if name else profiles.detect(fingerprint())
    except profiles.ProfileError as error:
        raise UsageError(str(error)) from None


def _profile_for(target: Target, name: str | None) -> profiles.Profile:
    found = detected_profile(name)
    if name is None and found.device.kind == "cpu" and target.default_profile is not None:
        found = detected_profile(target.default_profile)
    target.require(found)
    return found


def _export_jobs(target: str, profile: str | None, precision: str) -> list[ExportJob]:
    """Return the exports of each source: one, or under `auto` fp32 and then every lower precision.

    Raises:
        UsageError: An unknown target, profile or precision, or one that the hardware does not support.
    """
    found = get_target(target)
    if precision not in (*found.precisions, AUTO):
        raise unknown("precision", precision, (*found.precisions, AUTO))
    hardware = _profile_for(found, profile)
    if precision == AUTO:
        lower = [name for name in found.precisions if name in hardware.precisions and name != BASELINE]
        return [ExportJob(found, hardware, name) for name in (BASELINE, *lower)]
    if precision not in hardware.precisions:
        able = [name for name in hardware.precisions if name in found.precisions]
        raise UsageError(
            f"precision {precision} on profile {hardware.name}, which does not support it",
            required=f"one of {', '.join(able)}",
            fix="name another with --precision, or another --profile",
        )
    return [ExportJob(found, hardware, precision)]


def _export_one(
    source: ExportableNetwork, job: ExportJob, session: ExportSession, directory: Path, *, force: bool
) -> ExportResult:
    key = inputs_digest(source, job)
    current = not force and is_current(directory, "export", key)
    if not current:
        with staged_directory(directory) as staging:
            build_export(source, job, session, staging)
            extra = {"owner": source.owner, "region": source.region.name, "target": job.target.name}
            write_manifest(
                staging,
                "export",
                synthetic=source.synthetic,
                parent=source.parent.path,
                inputs=key,
                extra=extra | {"profile": job.profile.name, "precision": job.precision},
            )
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
