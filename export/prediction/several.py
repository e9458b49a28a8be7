"""Predict the structures of several regions into one mask per image; each network is opened once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lorkit.decompose.documents.predict import PredictDocument, PredictedRegion, SegmentedImage
from lorkit.decompose.errors import UsageError, plural
from lorkit.decompose.events import Listener, Working
from lorkit.decompose.runs import ExportSelection
from lorkit.export.prediction import inputs as files
from lorkit.export.prediction.answers import limit_memory, require_images, with_flips
from lorkit.export.prediction.fast import NOTE, with_fast
from lorkit.export.prediction.network import LoadedNetwork
from lorkit.export.prediction.regions import merged_labels, merged_row, open_networks, overlapping
from lorkit.export.prediction.results import check_kept, distinct, mask_targets, write_results
from lorkit.export.prediction.sources import about, mask_values, source_of
from lorkit.export.prediction.structures import MaskOptions, select_labels
from lorkit.export.prediction.writers.spool import Spool
from lorkit.export.prediction.writers.target import MaskTarget


@dataclass(frozen=True)
class Settings:
    """The settings of `predict` that do not name networks or images."""

    options: MaskOptions
    allow_synthetic: bool
    allow_out_of_region: bool
    flips: bool
    fast: bool
    out: Path | None
    threads: int | None
    memory_gib: float | None = None


def predict_regions(
    path: Path | str | None,
    inputs: Sequence[Path | str],
    run: Path | str | None,
    selection: ExportSelection,
    settings: Settings,
    *,
    sheet: Path | None,
    on_event: Listener,
) -> PredictDocument:
    """Segment images with several regions of a run, in their order of precedence; as `predict` otherwise.

    Raises:
        UsageError: As `predict`; also for a region without masks, and for a sheet.
    """
    if sheet is not None:
        raise UsageError("--sheet with several regions", required="one region", fix="use --preview for pictures")
    networks, notes = open_networks(path or run, selection, settings.threads)
    for network in networks:
        require_images(network, allow_synthetic=settings.allow_synthetic)
        limit_memory(network, settings.memory_gib, on_event)
    networks = [with_flips(network) for network in networks] if settings.flips else networks
    networks = [with_fast(network) for network in networks] if settings.fast else networks
    notes += [NOTE] if settings.fast else []
    every, paths = merged_labels(networks), files.expand(inputs)
    labels = select_labels(every, settings.options.structures)
    with Spool() as spool:
        targets: list[MaskTarget | None] = [None] * len(paths)
        if settings.out is not None:
            layers = overlapping(networks)
            made = mask_targets(paths, spool, source_of(networks), settings.options, labels, overlapping=layers)
            preview = settings.options.preview
            check_kept(inputs, paths, made, settings.out, labels, overlapping=layers, preview=preview)
            targets = [*made]
        rows: list[SegmentedImage] = []
        for index, (one, target) in enumerate(zip(paths, targets, strict=True)):
            on_event(Working(str(selection.region), index, len(paths)))
            row, warned = merged_row(
                networks, one, every, target, settings.options, allow_out_of_region=settings.allow_out_of_region
            )
            rows.append(row)
            notes += [f"{one}: {text}" for text in warned]
        on_event(Working(str(selection.region), len(paths), len(paths)))
        document = _document(networks, rows, notes, flips=settings.flips).with_changes(
            fast=settings.fast, classes=[label.name for label in labels], mask_values=mask_values(labels)
        )
        if settings.out is not None:
            names = distinct([files.stem(one) for one in paths])
            write_results(document, names, spool, settings.out, settings.options, labels)
    return document


def _document(
    networks: Sequence[LoadedNetwork], rows: Sequence[SegmentedImage], notes: list[str], *, flips: bool
) -> PredictDocument:
    for network in networks:
        name = network.region.name
        refused = sum(row.regions is not None and row.regions[name].refused for row in rows)
        if refused:
            notes.append(f"{refused} of {plural(len(rows), 'image')} do not look like region '{name}': not in the mask")
    contested = sum(row.contested or 0 for row in rows)
    if contested:
        notes.append(f"{plural(contested, 'voxel')} claimed by several regions: the region named first has them")
    return PredictDocument(
        warnings=notes,
        not_for_diagnosis=True,
        synthetic=any(network.info.synthetic for network in networks),
        region=",".join(network.region.name for network in networks),
        task="segmentation",
        classes=[],
        network=None,
        flips=flips,
        predicted_regions=[
            PredictedRegion(region=network.region.name, classes=list(network.region.classes), network=about(network))
            for network in networks
        ],
        predictions=[*rows],
    )
