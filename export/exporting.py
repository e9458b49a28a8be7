"""Export networks to a target: one directory each, proven against its source, with an example that runs alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from lorkit import profiles
from lorkit.decompose.artifacts import SCHEMA_VERSION, building, digest_file, digest_json, is_current, write_manifest
from lorkit.decompose.errors import UsageError
from lorkit.decompose.machine import fingerprint
from lorkit.decompose.progress import OnProgress, ignore
from lorkit.decompose.regions import unknown
from lorkit.decompose.runs import OWNERS, Run, open_run
from lorkit.export.exported import read_exported
from lorkit.export.onnx import Tracer, to_onnx
from lorkit.export.packaging import Samples, graph_metadata, output_names, write_package
from lorkit.export.parity import Parity, compare, in_batches, require, seeded_inputs
from lorkit.export.sizes import fitting
from lorkit.export.sources import Inputs, Shown, Source, run_sources, sources_at
from lorkit.export.targets import MODEL, Target, get_target, missing
from lorkit.export.targets.base import Blueprint, Floats, HardwareBound
from lorkit.export.unjudged import missing_baseline

# Raised when the content of an export changes for the same inputs, so that older ones are rebuilt.
FORMAT = 2
_KEPT_SAMPLES = 8
_KEPT_BYTES = 8 * 2**20


@dataclass(frozen=True, kw_only=True)
class ExportResult:
    """One export on disk.

    Attributes:
        parity: The `parity` block of its `export.json`; `status` is "passed" or "not_run".
        up_to_date: It was there already, made from the same inputs.
    """

    path: Path
    owner: str
    region: str
    target: str
    profile: str
    precision: str
    parity: dict[str, Any]
    size_bytes: int
    up_to_date: bool


@dataclass(frozen=True)
class _Job:
    target: Target
    profile: profiles.Profile
    precision: str

    @property
    def name(self) -> str:
        return f"{self.target.name}-{self.profile.name}-{self.precision}"

    def outdated(self, directory: Path) -> str:
        """Return why an engine that lies in `directory` does not fit this machine; empty where it does."""
        return self.target.outdated(directory, self.profile) if isinstance(self.target, HardwareBound) else ""


def export(
    path: Path | str | None = None,
    *,
    run: Path | str | None = None,
    region: str | None = "all",
    target: str = "onnx",
    profile: str | None = None,
    precision: str = "fp32",
    force: bool = False,
    owners: Sequence[str] = OWNERS,
    out: Path | None = None,
    on_progress: OnProgress = ignore,
) -> list[ExportResult]:
    """Export extracted experts and, the same way, the foundation model and bare student that they are measured against.

    Args:
        path: A run or an expert directory; an expert outside of its run is exported into itself.
        run: A run by id or path when no `path` is given; the newest by default.
        region: Names separated by commas, or "all".
        target: Name of a target.
        profile: Hardware profile; the detected one by default, or the target's own where this machine's is a CPU.
        precision: Precision of the graph.
        force: Rebuild what is up to date.
        owners: Which networks of a run.
        out: Directory in place of the run's or expert's `exports/`.
        on_progress: Called with a text, steps done and steps in all.

    Returns:
        What was exported, or was up to date, experts first.

    Raises:
        UsageError: Unknown region, target, profile or precision, or nothing was extracted.
        ParityError: An engine does not give its source's outputs; nothing of it is kept.
        MissingRuntimeError: The target cannot be built here. The ONNX files that it would take are exported.
    """
    job = _job(target, profile, precision)
    if path is None:
        sources = run_sources(open_run(run), region, owners, out)
    else:
        sources = sources_at(Path(path), region, owners, out)
    tracer, inputs, results = Tracer(), Inputs(), []
    for reason in dict.fromkeys(missing_baseline(source.run) for source in sources):
        if reason is not None and "foundation" in owners:
            on_progress(reason, 0, len(sources))
    for done, source in enumerate(sources):
        on_progress(f"{source.region.name} ({source.owner})", done, len(sources))
        if stale := job.outdated(source.home / job.name):
            on_progress(f"{source.region.name} ({source.owner}) is built again: {stale}", done, len(sources))
        results.append(_export_one(source, job, tracer, inputs, force=force))
    on_progress("exported", len(sources), len(sources))
    if not job.target.available(job.profile).ok:
        raise missing(job.target, job.profile)
    return results


def detected_profile(name: str | None) -> profiles.Profile:
    """Return a profile by name, or that of this machine.

    Raises:
        UsageError: There is none of this name.
    """
    try:
        return profiles.load(name) if name else profiles.detect(fingerprint())
    except profiles.ProfileError as error:
        raise UsageError(str(error)) from None


def _job(target: str, profile: str | None, precision: str) -> _Job:
    found = get_target(target)
    if precision not in found.precisions:
        raise unknown("precision", precision, found.precisions)
    hardware = detected_profile(profile)
    if isinstance(found, HardwareBound):
        if profile is None and hardware.device.kind == "cpu" and found.default_profile is not None:
            hardware = detected_profile(found.default_profile)
        found.require(hardware)
    return _Job(found, hardware, precision)


def _export_one(source: Source, job: _Job, tracer: Tracer, inputs: Inputs, *, force: bool) -> ExportResult:
    directory = source.home / job.name
    key = _inputs_digest(source, job)
    current = not force and is_current(directory, "export", key)
    if not current:
        with building(directory) as staging:
            _build(source, job, tracer, inputs, staging)
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
        parity=info["parity"],
        size_bytes=int(info["size_bytes"]),
        up_to_date=current,
    )


def _inputs_digest(source: Source, job: _Job) -> str:
    """Digest everything that decides what an export holds."""
    availability = job.target.available(job.profile)
    return digest_json(
        {
            "format": FORMAT,
            "parent": source.parent.digest,
            "owner": source.owner,
            "region": source.region.name,
            "target": [job.target.name, job.target.fingerprint(), availability.ok and availability.runs],
            "profile": job.profile.model_dump(mode="json"),
            "precision": job.precision,
        }
    )


def _build(source: Source, job: _Job, tracer: Tracer, inputs: Inputs, directory: Path) -> None:
    shown = inputs.of(source)
    channels, *size = source.shape
    graph = to_onnx(
        source.network,
        directory / MODEL,
        channels=channels,
        size=size,
        metadata=graph_metadata(source, job.precision),
        tracer=tracer,
    )
    kept = _kept(source, shown)
    reference = reference_logits(source, shown.images)
    engine = parity = provider = None
    availability = job.target.available(job.profile)
    if availability.ok:
        engine = job.target.build(_blueprint(source, job, directory, kept)).relative_to(directory).as_posix()
        if availability.runs:
            parity, provider = _prove(source, job, directory, shown, reference)
    info = {
        "schema_version": SCHEMA_VERSION,
        "kind": "export",
        "warnings": []
        if shown.kind != "seeded"
        else [note for note in inputs.notes if f"'{source.region.name}'" in note],
        "target": job.target.name,
        "runtime": job.target.runtime,
        "profile": job.profile.name,
        "precision": job.precision,
        "provider": provider,
        "engine": engine,
        **graph,
        "size_bytes": (directory / (engine or MODEL)).stat().st_size,
        "onnx_digest": digest_file(directory / MODEL),
        "parity": parity.to_json()
        if parity
        else {"status": "not_run", "reason": availability.reason or availability.why},
    }
    write_package(source, info, directory, kept)


def _blueprint(source: Source, job: _Job, directory: Path, kept: Samples) -> Blueprint:
    region = source.region
    info = {"region": region.name, "owner": source.owner, "task": region.task, "classes": list(region.classes)}
    info |= {"outputs": output_names(region), "recipe": source.recipe, "synthetic": source.synthetic}
    return Blueprint(
        directory=directory,
        network=source.network,
        precision=job.precision,
        profile=job.profile,
        shape=source.shape,
        info=info,
        images=kept.images,
    )


def _prove(source: Source, job: _Job, directory: Path, shown: Shown, reference: Floats) -> tuple[Parity, str]:
    engine = job.target.load(directory)
    try:
        parity = compare(engine.run, shown.images, reference, precision=job.precision, inputs=shown.kind)
    finally:
        engine.close()
    require(parity, f"the {job.target.name} engine of region '{source.region.name}' ({source.owner})")
    return parity, engine.provider


def reference_logits(source: Source, images: Floats, batch: int = 8) -> Floats:
    """Return the source network's own logits (N, outputs) or (N, outputs, *spatial), by torch on the CPU in fp32."""

    def run(part: Floats) -> Floats:
        with torch.inference_mode():
            logits: Floats = source.network(torch.tensor(part)).numpy()  # a copy: prepared images are read-only
        return logits

    return in_batches(run, images, fitting(source.region, source.shape, most=batch))


def _kept(source: Source, shown: Shown) -> Samples:
    """Return the inputs that may lie in the export, few where they are large, and the source's logits for them."""
    count = fitting(source.region, source.shape, most=_KEPT_SAMPLES, total=_KEPT_BYTES)
    allowed = shown.kind == "phantom" or (shown.kind == "real" and source.run is not None and _may_embed(source.run))
    if not allowed:
        shown = Shown(images=seeded_inputs(source.shape, count), kind="seeded")
    images = shown.images[:count]
    masks = None if shown.masks is None else shown.masks[:count]
    return Samples(images=images, logits=reference_logits(source, images), masks=masks, kind=shown.kind)


def _may_embed(run: Run) -> bool:
    # "phantom" allows drawn images only, which are allowed anyway
    return run.config.privacy.embed_images is True
