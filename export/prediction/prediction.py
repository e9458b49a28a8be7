"""Predict labels with probabilities or masks for images, or refuse them. For research, not for diagnosis.

An export needs its runtime, numpy and Pillow, not torch; an extracted expert runs with torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from lorkit.decompose.artifacts.arrays import Float32Array
from lorkit.decompose.documents.predict import PredictDocument, PredictedImage
from lorkit.decompose.errors import UsageError, plural
from lorkit.decompose.events import Listener, Working, ignore
from lorkit.decompose.runs import ExportSelection
from lorkit.decompose.tasks import get_task
from lorkit.export.prediction import inputs as files
from lorkit.export.prediction.ahead import prepared_ahead
from lorkit.export.prediction.answers import answer, chunk_size, limit_memory, require_images, with_flips
from lorkit.export.prediction.fast import NOTE, with_fast
from lorkit.export.prediction.network import LoadedNetwork, open_network
from lorkit.export.prediction.preparation import prepare_images
from lorkit.export.prediction.sources import about, mask_values, source_of
from lorkit.export.prediction.structures import MaskOptions, kept_labels
from lorkit.export.prediction.writers.base import MaskLabel
from lorkit.export.prediction.writers.spool import Spool
from lorkit.export.prediction.writers.target import MaskTarget


def predict(
    path: Path | str | None = None,
    inputs: Iterable[Path | str] = (),
    *,
    run: Path | str | None = None,
    region: str | None = None,
    target: str | None = None,
    profile: str | None = None,
    precision: str | None = None,
    allow_synthetic: bool = False,
    allow_out_of_region: bool = False,
    flips: bool = False,
    fast: bool = False,
    top: int = 1,
    out: Path | None = None,
    sheet: Path | None = None,
    to: str | None = None,
    structures: Sequence[str] | None = None,
    statistics: bool = False,
    preview: bool = False,
    threads: int | None = None,
    memory_gib: float | None = None,
    on_event: Listener = ignore,
) -> PredictDocument:
    """Label or segment images with one expert, or with a router, which finds the region of each.

    Args:
        path: An export or an expert directory; without one, `region` of a run is used: the export that `gate` would
            judge (`export_preference`), else its expert.
        inputs: Image files, folders of DICOM series, or CSV files with a `path` column.
        run: A run by id or path; the newest by default.
        region: Region of the run; several with commas, or `all`, give one mask with the structures of all of them.
        target: Selects among the exports of the run.
        profile: Selects among the exports of the run.
        precision: Selects among the exports of the run.
        allow_synthetic: Allow an expert that was trained on phantoms only.
        allow_out_of_region: Also predict for images that do not look like the region.
        flips: Average the logits of each image and its mirror image.
        fast: Take volumes at twice the spacing of the network, which nothing has judged.
        top: Number of classes per image.
        out: Directory for `predictions.csv`, `predictions.json` and, named by the stem of each image, one JSON file and
            the mask: of a NIfTI file or DICOM series a volume on its grid, else PNG of the input's size.
        sheet: A PNG with the images in rows by answer; it shows patients.
        to: Format of the masks of volumes: `nifti` (the default) or, of DICOM series, `dicom-seg`.
        structures: The structures that masks, tables and statistics have; all of them by default.
        statistics: Measure the volume and the mean intensity of each structure of volumes.
        preview: Draw each image with the outlines of its structures, into `out`; it shows patients.
        threads: CPU threads.
        memory_gib: Memory that the process may take for a volume at a spacing; what it has and what is free by default.
        on_event: Receives progress.

    Returns:
        A document with one row per image in `predictions`; `label`, or `structures` for segmentation, is null if the
        image was refused.

    Raises:
        UsageError: No network or no images, a network of nodes, flips for a router or where sides differ, an option of
            masks for a network without masks, an unknown structure or format, or a result would replace an input.
        ArtifactError: The network is damaged, or synthetic and not allowed.
        DataError: An image cannot be read, or lacks what the format of its mask needs; nothing is written.
        MissingRuntimeError: The format needs a package that is not installed.
    """
    selection = ExportSelection(region=region, target=target, profile=profile, precision=precision)
    options = MaskOptions(to, structures, statistics=statistics, preview=preview)
    _check_options(options, out)
    if selection.several:
        from lorkit.export.prediction.several import Settings, predict_regions

        settings = Settings(options, allow_synthetic, allow_out_of_region, flips, fast, out, threads, memory_gib)
        return predict_regions(path, list(inputs), run, selection, settings, sheet=sheet, on_event=on_event)
    network = open_network(path, run, selection, threads)
    require_images(network, allow_synthetic=allow_synthetic)
    network = with_flips(network) if flips else network
    network = with_fast(network) if fast else network
    limit_memory(network, memory_gib, on_event)
    inputs = list(inputs)
    call = _Call(network, files.expand(inputs), options, top=top, allow_out_of_region=allow_out_of_region)
    shown: list[Float32Array] | None = None if sheet is None else []
    # results wait here, so that an unreadable image leaves none of them
    with Spool() as spool:
        targets = call.targets(spool) if out is not None else [None] * len(call.paths)
        if out is not None:
            from lorkit.export.prediction.results import check_kept, distinct, write_results

            made = [one for one in targets if one]
            check_kept(inputs, call.paths, made, Path(out), call.labels, preview=preview)
        rows, warnings = _rows(call, targets, shown, on_event)
        document = _document(call, rows, [*warnings, NOTE] if fast else warnings, flips=flips).with_changes(fast=fast)
        if out is not None:
            names = distinct([files.stem(one) for one in call.paths])
            write_results(document, names, spool, Path(out), options, call.labels)
        if sheet is not None and shown is not None:
            from lorkit.export.prediction.sheet import prediction_sheet

            prediction_sheet(rows, shown, Path(sheet))
    return document


@dataclass(frozen=True)
class _Call:
    """One prediction: a network, its images, and what is asked for."""

    network: LoadedNetwork
    paths: Sequence[Path]
    options: MaskOptions
    top: int
    allow_out_of_region: bool

    def __post_init__(self) -> None:
        """Refuse options of masks for a network that draws none, and unknown structures."""
        if self.options.given is not None and not self._segments:
            raise UsageError(
                f"{self.options.given} for {self.network.path}, which "
                + ("finds the region of an image" if self.network.router is not None else "gives labels"),
                required="the network of one region that draws masks",
                fix="name such a region with --region, or leave the option out",
            )
        assert self.labels or not self._segments

    @property
    def _segments(self) -> bool:
        return self.network.dense and self.network.router is None

    @property
    def labels(self) -> tuple[MaskLabel, ...]:
        """The structures of masks; none of a network without masks or of a router."""
        return kept_labels(self.network.region, self.options.structures) if self._segments else ()

    def targets(self, spool: Spool) -> list[MaskTarget | None]:
        """Return where masks are written; nowhere for a network without masks."""
        if not self.network.dense:
            return [None] * len(self.paths)
        from lorkit.export.prediction.results import mask_targets

        overlapping = self._segments and not get_task(self.network.region.task).exclusive
        source = source_of([self.network])
        return [*mask_targets(self.paths, spool, source, self.options, self.labels, overlapping=overlapping)]


def _rows(
    call: _Call,
    targets: Sequence[MaskTarget | None],
    shown: list[Float32Array] | None,
    on_event: Listener,
) -> tuple[list[PredictedImage], list[str]]:
    network, paths, options = call.network, call.paths, call.options
    rows: list[PredictedImage] = []
    warnings: list[str] = []
    prepare = partial(prepare_images, network, keep=options.need_image)
    for chunk in prepared_ahead(prepare, paths, chunk_size(network, options)):
        start = len(rows)
        on_event(Working(network.region.name, start, len(paths)))
        warnings += [f"{image.path}: {text}" for image in chunk for text in image.warnings]
        if shown is not None:
            shown += [image.values for image in chunk]
        own = targets[start : start + len(chunk)]
        found = answer(network, chunk, own, top=call.top, allow_out_of_region=call.allow_out_of_region, options=options)
        rows += found.rows
    on_event(Working(network.region.name, len(paths), len(paths)))
    return rows, warnings


def _document(call: _Call, rows: list[PredictedImage], notes: list[str], *, flips: bool) -> PredictDocument:
    network = call.network
    answer = "answer" if network.router is not None else "mask" if network.dense else "label"
    if network.multilabel:
        assert network.info.kind != "mixture"  # it has no task of its own
        missing = [name for name in network.region.classes if (network.info.decision is None
                   or network.info.decision.thresholds.get(name) is None)]  # fmt: skip
        if missing:
            notes.append(f"no threshold of {', '.join(missing)} could be chosen on validation: answered as uncertain")
    refused = sum(row.refused for row in rows)
    if refused:
        what = "any region" if network.router is not None else f"region '{network.region.name}'"
        notes.append(f"{refused} of {plural(len(rows), 'image')} do not look like {what}: no {answer}")
    if network.info.kind != "mixture" and network.info.in_region is None and network.router is None:
        notes.append(f"this network has no in-region check: every image gets a {answer}")
    labels = call.labels
    document = PredictDocument(
        warnings=notes,
        not_for_diagnosis=True,
        synthetic=network.info.synthetic,
        region=network.region.name,
        task=network.region.task,
        classes=[label.name for label in labels] if labels else list(network.region.classes),
        network=about(network),
        flips=flips,
        predictions=rows,
    )
    return document.with_changes(mask_values=mask_values(labels)) if labels else document


def _check_options(options: MaskOptions, out: Path | None) -> None:
    """Raise UsageError for an unknown format, and for options that only change files without a directory for them."""
    if options.to is not None:
        from lorkit.export.prediction.writers.registry import check_format

        check_format(options.to)
    given = "--to" if options.to is not None else "--preview" if options.preview else None
    if given is not None and out is None:
        raise UsageError(f"{given} without --out", required="a directory for the files", fix="name one with --out")
