"""Compare exports with their source networks, on real inputs, at several batch sizes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lorkit.decompose.artifacts import MANIFEST, read_manifest
from lorkit.decompose.artifacts.places import HOMES
from lorkit.decompose.documents.base import combine
from lorkit.decompose.documents.verify import (
    BatchParity,
    Bisection,
    ProvenParity,
    VerifiedExport,
    VerifyDocument,
)
from lorkit.decompose.errors import MissingRuntimeError, ParityError, UsageError, plural
from lorkit.decompose.events import Listener, Working, ignore
from lorkit.decompose.runs import ExportSelection, exports_of, open_run
from lorkit.export.building.references import References
from lorkit.export.runtime.comparison_rules import rules_of
from lorkit.export.runtime.engine import load_opened
from lorkit.export.runtime.exported import Exported, read_exported
from lorkit.export.runtime.parity import batch_sizes, describe_flips, measure_outputs, worst_parity
from lorkit.export.runtime.rounding_noise import pair_noise

if TYPE_CHECKING:
    pass

BATCHES = (1, 3, 8, 32)


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
    references, rows, notes, absent = References(data), list[VerifiedExport](), list[str](), []
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


def _bisect(exported: Exported, references: References, *, alone: bool) -> Bisection:
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
    named = path is not None and (Path(path) / MANIFEST).is_file()
    if path is not None and named and read_manifest(Path(path), verify=False).kind not in HOMES:
        return [read_exported(Path(path), selection).path]
    opened = open_run(path if path is not None else run)
    entries = exports_of(opened, selection)
    if not entries:
        raise UsageError(
            f"no such export in {opened.path}", required="at least one export", fix="run `decompose export` first"
        )
    return [entry.path for entry in entries]


def _verify_one(
    exported: Exported, references: References, batches: Sequence[int]
) -> tuple[VerifiedExport, tuple[str, ...]]:
    info = exported.info
    with load_opened(exported) as engine:
        reference = references.reference(exported)
        inputs = reference.images.given(info.inputs)
        rules = rules_of(info, reference.outputs, inputs, info.precision)
        noise = None
        if info.precision == "fp32":
            noise = pair_noise(engine.infer, reference.infer, inputs, reference.outputs, batch=max(batches))
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
                    noise=noise,
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
