"""Several regions of the same images: each image is read once, and one mask has the structures of all regions.

Where two regions claim a voxel, the region that is named first has it; `contested` counts these voxels. Where the
structures of a region overlap, nothing is contested: masks are bit sets, and each structure gets its own file or
segment.

Shapes: D H W a volume, or H W a picture, in the axes of the image as read.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Collection, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lorkit.decompose.artifacts.arrays import Float32Array
from lorkit.decompose.data.formats.registry import open_image
from lorkit.decompose.data.formats.stored import StoredImage
from lorkit.decompose.data.preprocessing.recipe import prepared_size
from lorkit.decompose.documents.predict import RegionAnswer, SegmentedImage
from lorkit.decompose.errors import DataError, UsageError
from lorkit.decompose.runs import ExportSelection, open_run
from lorkit.decompose.tasks import get_task
from lorkit.export.prediction import segmentation
from lorkit.export.prediction.answers import mask_of
from lorkit.export.prediction.inputs import network_spacing, values_of
from lorkit.export.prediction.network import LoadedNetwork, open_network
from lorkit.export.prediction.preparation import PreparedImage, RegionCheckResult, checked, named, prepare_values
from lorkit.export.prediction.structures import MaskOptions, only, select_labels
from lorkit.export.prediction.volumes import VolumeCase, joint_costs, stated_volume
from lorkit.export.prediction.writers.base import LabelledMask, MaskLabel
from lorkit.export.prediction.writers.target import MaskTarget

_MOST_BITS = 63


def open_networks(
    run: Path | str | None, selection: ExportSelection, threads: int | None
) -> tuple[list[LoadedNetwork], list[str]]:
    """Open the network of each region, and return what is left out; `all` leaves out regions without masks.

    Raises:
        UsageError: A region is unknown or named twice, or gives no masks.
        ArtifactError: A network is damaged.
    """
    opened, text = open_run(run), str(selection.region)
    every = text == "all"
    named = list(opened.regions.names) if every else [one.strip() for one in text.split(",") if one.strip()]
    found, notes = [], []
    for name in named:
        if named.count(name) > 1:
            raise UsageError(f"region '{name}' twice", required="each region once", fix="remove one")
        if not get_task(opened.regions.get(name).task).dense:
            if not every:
                raise UsageError(
                    f"region '{name}' beside others, which gives labels",
                    required="regions with masks, which are merged",
                    fix="predict it by itself",
                )
            notes.append(f"region '{name}' gives labels and is left out of the mask")
            continue
        one = ExportSelection(
            region=name, target=selection.target, profile=selection.profile, precision=selection.precision
        )
        found.append(open_network(None, opened.path, one, threads))
    if not found:
        raise UsageError("no region with masks", required="regions that are segmented", fix="name one with --region")
    return found, notes


def merged_labels(networks: Sequence[LoadedNetwork]) -> tuple[MaskLabel, ...]:
    """Number the structures of all regions from 1; a name of two regions has its region before it.

    Raises:
        UsageError: There are more structures than bits where they overlap.
    """
    pairs = [(network.region.name, name) for network in networks for name in network.region.classes]
    often = Counter(name for _, name in pairs)
    names = [name if often[name] == 1 else f"{region} {name}" for region, name in pairs]
    if overlapping(networks) and len(pairs) > _MOST_BITS:
        raise UsageError(
            f"{len(pairs)} structures, some of which overlap",
            required=f"at most {_MOST_BITS} in one call",
            fix="name fewer regions with --region",
        )
    return tuple(
        MaskLabel(value, name, region) for value, (name, (region, _)) in enumerate(zip(names, pairs, strict=True), 1)
    )


def overlapping(networks: Sequence[LoadedNetwork]) -> bool:
    """Tell whether structures of some region overlap, so that masks are bit sets."""
    return any(not get_task(network.region.task).exclusive for network in networks)


def merged_row(
    networks: Sequence[LoadedNetwork],
    path: Path,
    labels: Sequence[MaskLabel],
    target: MaskTarget | None,
    options: MaskOptions,
    *,
    allow_out_of_region: bool,
) -> tuple[SegmentedImage, tuple[str, ...]]:
    """Segment one image with the networks of several regions.

    It is read once, and prepared once for all networks with the same preprocessing.

    Returns:
        Its row, and what the reader warns of.
    """
    merged = _Merged([*labels], bits=overlapping(networks))
    cases = _cases(networks, path, merged.kind)
    begin = time.perf_counter()
    stored = open_image(path)
    read_s = time.perf_counter() - begin
    answers: dict[str, RegionAnswer] = {}
    known: dict[str, Float32Array] = {}
    image: PreparedImage | None = None
    for network in networks:
        image = _prepared(network, stored, path, known, cases.get(network.region.name))
        refused = image.check.out_of_region is True and not allow_out_of_region
        answers[network.region.name] = RegionAnswer(**image.check._asdict(), refused=refused)
        if not refused:
            merged.add(network, mask_of(network, image))
    assert image is not None
    last = next(reversed(cases.values()), None)
    image = image._replace(check=RegionCheckResult(), stored=stored if options.need_image else None)
    with nullcontext() if last is None else last.stages.stage("write"):
        if merged.values is None:
            row = segmentation.refused_row(image)
        else:
            row = segmentation.described(image, merged.mask(path, options), target, options)
            row = _without([label.name for label in labels if answers[label.region].refused], row)
    if last is not None:
        last.stages.seconds["read"] += read_s
        row = row.with_changes(case_costs=joint_costs([*cases.values()]))
    return row.with_changes(regions=answers, contested=merged.contested), stored.warnings


def _cases(networks: Sequence[LoadedNetwork], path: Path, kind: type[np.unsignedinteger[Any]]) -> dict[str, VolumeCase]:
    """Plan a case for each network that takes it window by window, before a voxel of it is read.

    Beside its own, the volume as read, the merged mask, and the prepared volumes of the others are in memory.

    Raises:
        DataError: It does not fit into the memory; the message names it.
    """
    try:
        stated = stated_volume(path)
        if stated is None:
            return {}
        voxels, found = math.prod(stated.size), {}
        windowed = [(network, network.volumes) for network in networks if network.volumes is not None]
        prepared = {_key(network): 4 * math.prod(prepared_size(network.recipe, stated.size, stated.spacing))
                    for network, _ in windowed}  # fmt: skip
        for network, runner in windowed:
            runner.measure(network.run)  # of all of them first: what a runtime keeps is in memory for the others
        for network, runner in windowed:
            beside = voxels * np.dtype(kind).itemsize + sum(prepared.values()) - prepared[_key(network)]
            found[network.region.name] = runner.plan(network.run, stated, keep=True, beside=beside)
    except DataError as error:
        raise named(error, path) from None
    return found


def _without(names: Collection[str], row: SegmentedImage) -> SegmentedImage:
    """Return a row without the sizes of structures that no network has looked for: they are unknown, not 0."""
    found = row.with_changes(structures={key: one for key, one in (row.structures or {}).items() if key not in names})
    if row.statistics is None:
        return found
    kept = {key: one for key, one in row.statistics.structures.items() if key not in names}
    return found.with_changes(statistics=row.statistics.with_changes(structures=kept))


def _key(network: LoadedNetwork) -> str:
    """Return what is equal for networks that take the same prepared image."""
    steps = [step for step in network.recipe.steps if step.op != "normalise"]  # that one is part of the graph
    return repr((network.recipe.version, steps))


def _prepared(
    network: LoadedNetwork, stored: StoredImage, path: Path, known: dict[str, Float32Array], case: VolumeCase | None
) -> PreparedImage:
    """Prepare an image, unless a network with the same steps before its graph has seen it."""
    key = _key(network)
    values = values_of(stored, network.recipe, path)
    prepared = prepare_values(
        network,
        values,
        path,
        voxel_ml=stored.voxel_ml,
        warnings=stored.warnings,
        spacing_mm=network_spacing(stored),
        case=case,
        known=known.get(key),
    )
    known[key] = prepared.values
    return checked(network, [prepared])[0]


class _Merged:
    """One mask that the masks of regions are added to, in order of precedence."""

    def __init__(self, labels: Sequence[MaskLabel], *, bits: bool) -> None:
        self.labels, self.bits, self.contested = labels, bits, 0
        self.values: NDArray[Any] | None = None
        self.kind = np.uint64 if bits else np.uint8 if len(labels) < np.iinfo(np.uint8).max else np.uint16

    def add(self, network: LoadedNetwork, values: NDArray[Any]) -> None:
        """Add the mask of a region where no earlier one has a structure; bit sets take all."""
        own = [label for label in self.labels if label.region == network.region.name]
        if self.values is None:
            self.values = np.zeros(values.shape, self.kind)
        if self.bits:
            layers = not get_task(network.region.task).exclusive
            drawn = LabelledMask(Path(), values, own, layers)
            for number, label in enumerate(own, start=1):
                layer = drawn.layer(MaskLabel(number, label.name, label.region))
                self.values |= np.left_shift(layer, label.value - 1, dtype=np.uint64, casting="unsafe")
            return
        self.contested += int(np.count_nonzero((values > 0) & (self.values > 0)))
        table = np.zeros(int(np.iinfo(values.dtype).max) + 1, self.kind)
        table[1 : len(own) + 1] = [label.value for label in own]
        np.copyto(self.values, table[values], where=self.values == 0)

    def mask(self, path: Path, options: MaskOptions) -> LabelledMask:
        """Return the mask with only the kept structures."""
        assert self.values is not None
        whole = LabelledMask(path, self.values, self.labels, self.bits)
        return only(whole, select_labels(self.labels, options.structures))
