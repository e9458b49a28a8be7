"""Compare exports with their source networks, on real inputs, at several batch sizes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lorkit.decompose.artifacts import MANIFEST, digest_file, read_manifest
from lorkit.decompose.documents.base import combine
from lorkit.decompose.documents.verify import (
    BatchParity,
    Bisection,
    ProvenParity,
    VerifiedExport,
    VerifyDocument,
)
from lorkit.decompose.errors import ArtifactError, MissingRuntimeError, ParityError, UsageError, plural
from lorkit.decompose.events import Listener, Working, ignore
from lorkit.decompose.runs import ExportSelection, exports_of, open_run
from lorkit.decompose.runs.locked_data import prepare_file
from lorkit.export.building.samples import read_samples
from lorkit.export.runtime.batch_size import HELD_BYTES, fitting
from lorkit.export.runtime.comparison_rules import rules_of
from lorkit.export.runtime.engine import load_engine
from lorkit.export.runtime.exported import Exported, read_exported
from lorkit.export.runtime.parity import batch_sizes, describe_flips, measure_outputs, worst_parity
from lorkit.export.runtime.reference_images import ReferenceImages

if TYPE_CHECKING:
    from lorkit.decompose.runs.networks import RunNetworks
    from lorkit.export.building.sources import ReferenceImageCache
    from lorkit.export.targets.base import Outputs

BATCHES = (1, 3, 8, 32)
_COUNT = 48


@dataclass(frozen=True)
class _Reference:
    """Reference of an export: inputs, the expected outputs, and the sources of both."""

    images: ReferenceImages
    outputs: Outputs
    against: str
    notes: tuple[str, ...] = ()


def verify(
    path: Path | str | None = None,
    *,
    run: Path | str | None = None,
    region: str | None = "all",
    target: str | None = None,
    profile: str | None = None,
    precision: str | None = None,
    data: Path | str | None = None,
    batches: Sequence[int] = BATCHES,
    bisect: bool = False,
    on_event: Listener = ignore,
) -> VerifyDocument:
    """Compare exports with their source networks.

    The source runs by torch on images of the run's locked test split (or `data`). An export without its source is
    compared with the logits in its `samples.npz`.

    Args:
        path: An export, or a run.
        run: A run by id or path without `path`; the newest by default.
        region: Names separated by commas, or "all".
        target: Only exports of this target.
        profile: Only exports for this profile.
        precision: Only exports of this precision.
        data: A file with images of the region instead of the test split.
        batches: Batch sizes.
        bisect: Also find the first layer whose error exceeds the tolerance of the precision.
        on_event: Told how many steps are done.

    Returns:
        A document with one block per export, each with its largest error and label flips by batch size.

    Raises:
        UsageError: Nothing was exported.
        ArtifactError: An export is damaged, or its source has changed.
        ParityError: An export does not reproduce its source's outputs.
        MissingRuntimeError: The runtime or hardware of all exports, or of the named target, is missing; otherwise such
            exports are listed under `not_run`.
    """
    found = _select(path, run, ExportSelection(region=region, target=target, profile=profile, precision=precision))
    references, rows, notes, absent = _References(data), list[VerifiedExport](), list[str](), []
    for done, directory in enumerate(found):
        on_event(Working(str(directory), done, len(found)))
        exported = read_exported(directory)
        try:
            row, said = _verify_one(exported, references, batches)
            notes += said
            if bisect:
                on_event(Working(f"bisecting {directory}", done, len(found)))
                row = row.with_changes(bisection=_bisect(exported, references, alone=len(found) == 1))
            rows.append(row)
        except MissingRuntimeError as error:
            # a run may have exports for other machines; an error if there is nothing else to verify
            absent.append((exported, error))
    on_event(Working("verified", len(found), len(found)))
    if absent and (target is not None or not rows):
        raise absent[0][1]
    _require_parity(rows)
    notes += [f"{exported.path} was not verified: {error.given}" for exported, error in absent]
    return VerifyDocument(
        warnings=list(dict.fromkeys(notes)),
        status="passed",
        exports=rows,
        not_run=[exported.describe() for exported, _ in absent],
    )


def _bisect(exported: Exported, references: _References, *, alone: bool) -> Bisection:
    """Bisect an export; if it cannot be bisected, warn and continue with others, or raise UsageError if it is alone."""
    try:
        return references.bisection(exported)
    except UsageError as error:
        if alone:
            raise
        return Bisection(layer=None, reason=error.given)


def _require_parity(rows: Sequence[VerifiedExport]) -> None:
    failed = [row for row in rows if row.status != "passed"]
    if failed:
        worst = failed[0]
        inputs = plural(worst.n, f"{worst.inputs} input")
        cut = worst.bisection
        where = f"; first at layer {cut.layer} ({cut.op})" if cut is not None and cut.layer else ""
        raise ParityError(
            f"{worst.path} differs from its {worst.against} by {worst.max_abs} with {describe_flips(worst)} "
            f"on {inputs}{where}",
            required=f"at most {worst.tolerance:.3g}, and {worst.flip_limit:.2g} of all decisions changed",
            fix="export it again with --force",
        )


def _select(path: Path | str | None, run: Path | str | None, selection: ExportSelection) -> list[Path]:
    if path is not None and (Path(path) / MANIFEST).is_file() and read_manifest(Path(path), verify=False).kind != "run":
        return [read_exported(Path(path), selection).path]
    opened = open_run(path if path is not None else run)
    entries = exports_of(opened, selection)
    if not entries:
        raise UsageError(
            f"no such export in {opened.path}", required="at least one export", fix="run `decompose export` first"
        )
    return [entry.path for entry in entries]


def _verify_one(
    exported: Exported, references: _References, batches: Sequence[int]
) -> tuple[VerifiedExport, tuple[str, ...]]:
    info = exported.info
    with load_engine(exported.path) as engine:
        reference = references.reference(exported)
        inputs = reference.images.given(info.inputs)
        rules = rules_of(info, reference.outputs, inputs, info.precision)
        found = {
            batch: worst_parity(
                measure_outputs(
                    engine.infer,
                    inputs,
                    reference.outputs,
                    rules,
                    precision=info.precision,
                    kind=reference.images.kind,
                    batches=(batch,),
                )
            )
            for batch in batch_sizes(batches, reference.outputs, rules)
        }
        provider = engine.provider
    worst = max(found.values(), key=lambda parity: parity.error / parity.tolerance)
    row = combine(
        VerifiedExport,
        exported.describe(),
        worst,
        status="passed" if all(parity.passed for parity in found.values()) else "failed",
        against=reference.against,
        provider=provider,
        label_flips=max(parity.label_flips for parity in found.values()),
        flip_rate=max(parity.flip_rate for parity in found.values()),
        dice=min((parity.dice for parity in found.values() if parity.dice is not None), default=None),
        batches=[_batch_row(batch, parity) for batch, parity in found.items()],
    )
    return row, reference.notes


def _batch_row(batch: int, parity: ProvenParity) -> BatchParity:
    return BatchParity(
        batch=batch,
        max_abs=parity.max_abs,
        of_margin=parity.of_margin,
        label_flips=parity.label_flips,
        flip_rate=parity.flip_rate,
        dice=parity.dice,
    )


class _References:
    """References of exports, with the models and images that several exports of one run share."""

    def __init__(self, data: Path | str | None) -> None:
        self.data = data
        self._opened: dict[Path, RunNetworks] = {}
        self._images: ReferenceImageCache | None = None

    def reference(self, exported: Exported) -> _Reference:
        """Return the reference of an export: its source if available, else its own samples."""
        parent, source = exported.manifest.parent, _source_of(exported)
        if parent is None or source is None:
            return self._apart(exported)
        if digest_file(source / MANIFEST) != parent["sha256"]:
            raise ArtifactError(
                f"{source} is not the {parent['kind']} that {exported.path} was made from",
                required=f"a manifest with digest {parent['sha256'][:12]}",
                fix="export it again",
            )
        return self._computed(exported, source)

    def bisection(self, exported: Exported) -> Bisection:
        """Return the first wrong layer; the source network is needed.

        Raises:
            UsageError: The source is missing, or the target is not built from ONNX.
        """
        from lorkit.export.building.bisection import bisect_export
        from lorkit.export.building.sources import origin_of

        place = _source_of(exported)
        if place is None:
            raise UsageError(
                f"--bisect for {exported.path}, whose source network is missing",
                required="the network that it was exported from, layer by layer",
                fix="bisect it in its run",
            )
        inputs = self.reference(exported).images.given(exported.info.inputs)
        return bisect_export(exported, origin_of(exported, place, self._opened), inputs)

    def _apart(self, exported: Exported) -> _Reference:
        if self.data is None:
            return _stored(exported)
        raise UsageError(
            f"{exported.path} is not stored with the network it was made from",
            required="that network, to run other data",
            fix="leave --data out to use its own samples",
        )

    def _computed(self, exported: Exported, parent: Path) -> _Reference:
        """Run the source with torch, which is imported here because samples do not need it."""
        from lorkit.export.building.builder import reference_outputs
        from lorkit.export.building.sources import OpenedSplits, ReferenceImageCache, origin_of

        source = origin_of(exported, parent, self._opened)
        notes: tuple[str, ...] = ()
        if self.data is None:
            self._images = self._images or ReferenceImageCache(OpenedSplits(), part="test", count=_COUNT)
            images = self._images.of(source)
            notes = tuple(self._images.notes) if images.kind == "seeded" else ()
        elif source.mixture is not None:
            raise UsageError(
                f"--data for {exported.path}, a network of several regions",
                required="images of each region, which are those of its run",
                fix="leave --data out",
            )
        else:
            whole = prepare_file(self.data, source.region, source.recipe).images
            count = fitting(source.region, source.shape, most=len(whole), total=HELD_BYTES)
            if count < len(whole):
                notes = (f"{self.data}: the first {count} of {len(whole)} {source.region.words.cases} were compared",)
            images = ReferenceImages(images=whole[:count], kind="real")
        outputs = reference_outputs(source, exported.info, images.given(exported.info.inputs))
        return _Reference(images, outputs, "source", notes)


def _source_of(exported: Exported) -> Path | None:
    """Return the directory that an export was made from; None if it is not here."""
    parent = exported.manifest.parent
    place = None if parent is None else exported.path / parent["path"]
    return place if place is not None and (place / MANIFEST).is_file() else None


def _stored(exported: Exported) -> _Reference:
    samples = read_samples(exported)
    note = f"{exported.path}: its source network is missing, so it is compared with its own samples"
    return _Reference(samples, samples.outputs, "samples", (note,))
