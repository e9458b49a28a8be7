"""Build one export: its ONNX file at the requested precision, the engine, and the parity check with its source.

A change of what it writes is a change of `identity.FORMAT`.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
from onnx import ModelProto

from lorkit.decompose.artifacts import digest_file
from lorkit.decompose.documents.base import combine
from lorkit.decompose.documents.export import ExportedNetwork, ExportInfo, ExportSource, Graph, KeptSamples, Lowering
from lorkit.decompose.documents.verify import NoParity, ProvenParity
from lorkit.decompose.errors import fit_for_artifact
from lorkit.decompose.events import Listener, ignore, named
from lorkit.decompose.runs import Run
from lorkit.export.building.elsewhere import command_elsewhere, parent_elsewhere
from lorkit.export.building.job import ExportJob
from lorkit.export.building.packaging import graph_metadata, network_info, write_package
from lorkit.export.building.references import reference_outputs
from lorkit.export.building.run_data import DecisionCache, OpenedSplits, ReferenceImageCache
from lorkit.export.building.samples import Samples
from lorkit.export.building.sources import ExportableNetwork
from lorkit.export.onnx.conversion import Tracer, to_onnx
from lorkit.export.onnx.precision import convert_precision, require_precision
from lorkit.export.runtime.agreement import engine_bytes
from lorkit.export.runtime.batch_size import fitting
from lorkit.export.runtime.comparison_rules import batches_of, rules_of
from lorkit.export.runtime.native_code import record_build
from lorkit.export.runtime.parity import measure_outputs, require_parity, worst_parity
from lorkit.export.runtime.preference import CANONICAL_TARGET
from lorkit.export.runtime.reference_images import ReferenceImages, seeded_inputs
from lorkit.export.runtime.rounding_noise import pair_noise
from lorkit.export.targets import MODEL
from lorkit.export.targets.base import Availability, BuildRequest, Outputs

_CALIBRATION, _TRIED = 64, 48
_KEPT_SAMPLES = 8
_KEPT_BYTES = 8 * 2**20


class ExportSession:
    """What the exports of one call share: traced architectures, images read once, and the listener."""

    def __init__(self, on_event: Listener = ignore) -> None:
        self.on_event, self.tracer, self.splits = on_event, Tracer(), OpenedSplits()
        self.images = ReferenceImageCache(self.splits)
        self.decisions = DecisionCache(self.splits)
        # the values of each region have their own range
        self.calibration = ReferenceImageCache(self.splits, part="train", count=_CALIBRATION, by_region=True)


def build_export(source: ExportableNetwork, job: ExportJob, session: ExportSession, directory: Path) -> None:
    """Write one export into a directory.

    Raises:
        DataError: int8 without calibration images.
        ParityError: The engine does not reproduce its source's outputs.
    """
    inputs = session.images.of(source)
    network = network_info(source, session.decisions.of(source))
    reference = reference_outputs(source, network, inputs.given(network.inputs))
    graph, lowering = _graph(source, job, session, directory, network)
    kept = _samples_to_keep(source, network, inputs, reference)
    engine = parity = provider = None
    availability = job.target.available(job.profile)
    if availability.ok:
        request = _build_request(source, network, job, directory, kept)
        engine = job.target.build(request).relative_to(directory).as_posix()
        record_build(job.target, directory, source.run.path.parent if source.run else None)
        if availability.runs:
            parity, provider = _check_parity(source, network, job, directory, inputs, reference)
    else:
        command, parent = command_elsewhere(source, job), parent_elsewhere(source)
        job.target.leave(directory, job.profile, command, parent)
    named_in = [f"'{each.name}'" for each in source.region.each]
    notes = [note for note in session.images.notes if any(name in note for name in named_in)]
    info = combine(
        ExportInfo,
        network,
        graph,
        size_bytes=engine_bytes(directory / (engine or MODEL)),
        warnings=notes if inputs.kind == "seeded" else [],
        target=job.target.name,
        runtime=job.target.runtime,
        profile=job.profile.name,
        hardware=job.profile.model_dump(mode="json"),
        precision=job.precision,
        provider=provider,
        engine_file=engine,
        graph_precision=job.target.precisions[job.precision],
        lowering=lowering,
        onnx_digest=digest_file(directory / MODEL),
        parity=parity if parity else _unproven(availability),
        kept_samples=KeptSamples(inputs=kept.kind, n=len(kept.images)),
        made_from=ExportSource(kind=source.parent.kind, manifest=source.parent.digest, weights=source.weights_digest),
    )
    write_package(info, directory, kept, job.target.example)


def _unproven(availability: Availability) -> NoParity:
    return NoParity(status="not_run", reason=fit_for_artifact(availability.reason or availability.cannot_run_because))


def _graph(
    source: ExportableNetwork, job: ExportJob, session: ExportSession, directory: Path, network: ExportedNetwork
) -> tuple[Graph, Lowering | None]:
    """Write the canonical file and return its description for `export.json`."""
    channels, *size = source.shape
    precision = job.target.precisions[job.precision]
    available = job.target.available(job.profile)
    # the parity check runs this very file at several batch sizes; of several outputs it cannot say which are exchanged
    same_file = job.target.name == CANONICAL_TARGET and precision == "fp32" and source.mixture is None
    notes: list[Lowering] = []
    who = f"{source.region.name} ({source.owner})"

    def lowering(model: ModelProto) -> ModelProto:
        if precision == "fp32":
            return model
        # layers are chosen on the training part, so that the validation part only tests the finished file
        seen = session.calibration.of(source)
        tried = {name: values[:_TRIED] for name, values in seen.given(network.inputs).items()}
        reference = reference_outputs(source, network, tried)
        lowered = convert_precision(
            model,
            precision,
            scheme=job.scheme,
            calibration=seen,
            reference=reference,
            rules=rules_of(network, reference, tried, precision),
            unquantised=job.target.unquantised(model),
            on_event=named(who, session.on_event),
        )
        notes.extend([] if lowered.notes is None else [lowered.notes])
        return lowered.model

    graph = to_onnx(
        source.network,
        directory / MODEL,
        channels=channels,
        size=size,
        first=network.inputs[0],
        metadata=graph_metadata(source, precision, network.decision),
        tracer=session.tracer,
        graph=None if source.graph is None else source.graph(),
        try_batches=not (same_file and available.ok and available.runs),
        lowering=lowering,
    )
    require_precision(graph.dtype_census, precision)
    return graph, notes[0] if notes else None


def _build_request(
    source: ExportableNetwork, network: ExportedNetwork, job: ExportJob, directory: Path, kept: Samples
) -> BuildRequest:
    return BuildRequest(
        directory=directory,
        network=source.network,
        precision=job.precision,
        profile=job.profile,
        shape=source.shape,
        info=network,
        images=kept.images,
        allow_synthetic=job.allow_synthetic,
    )


def _check_parity(
    source: ExportableNetwork,
    network: ExportedNetwork,
    job: ExportJob,
    directory: Path,
    images: ReferenceImages,
    reference: Outputs,
) -> tuple[ProvenParity, str]:
    inputs, batches = images.given(network.inputs), batches_of(network)
    with job.target.load(directory) as engine:
        noise = None
        if job.precision == "fp32":
            outputs_of = partial(reference_outputs, source, network)
            noise = pair_noise(engine.infer, outputs_of, inputs, reference, batch=batches[-1])
        found = measure_outputs(
            engine.infer,
            inputs,
            reference,
            rules_of(network, reference, inputs, job.precision),
            precision=job.precision,
            kind=images.kind,
            batches=batches,
            noise=noise,
        )
    parity = worst_parity(found)
    of = f"region '{network.region}'" if network.mixture is None else f"the {network.region} network"
    require_parity(parity, f"the {job.target.name} engine of {of} ({network.owner})")
    return parity, engine.provider


def _samples_to_keep(
    source: ExportableNetwork, network: ExportedNetwork, inputs: ReferenceImages, reference: Outputs
) -> Samples:
    """Return the inputs that the export may contain, few if they are large, and the source's outputs for them."""
    count = fitting(source.region, source.shape, most=_KEPT_SAMPLES, total=_KEPT_BYTES)
    allowed = inputs.kind == "phantom" or (inputs.kind == "real" and source.run is not None and _may_embed(source.run))
    if allowed:
        outputs = {name: values[:count] for name, values in reference.items()}
        return Samples(**vars(inputs.first(count)), outputs=outputs)
    region_N = None if inputs.region_N is None else np.arange(count) % len(source.region.each)
    seeded = ReferenceImages(images=seeded_inputs(source.shape, count), kind="seeded", region_N=region_N)
    return Samples(**vars(seeded), outputs=reference_outputs(source, network, seeded.given(network.inputs)))


def _may_embed(run: Run) -> bool:
    # "phantom" allows drawn images only, which are always allowed
    return run.config.privacy.embed_images is True
