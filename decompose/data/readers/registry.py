"""The registry of readers: choose the reader of a region's data entries, and read them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lorkit.decompose.config import Config, RegionConfig, resolve_path
from lorkit.decompose.config.kinds import check_views, refuse_region_keys, refuse_sections
from lorkit.decompose.data.formats.npz import keys_of
from lorkit.decompose.data.phantoms import reader as phantom
from lorkit.decompose.data.readers import (
    case_folders,
    class_folder,
    csv_manifest,
    csv_pairs,
    graph_files,
    medmnist,
    nifti,
    npz,
)
from lorkit.decompose.data.samples.columns import join_columns
from lorkit.decompose.data.samples.label_table import MULTILABEL, UNCERTAIN
from lorkit.decompose.data.samples.open_files import OpenFiles
from lorkit.decompose.data.samples.pseudonyms import Pseudonyms
from lorkit.decompose.data.samples.samples import KNOWN_TASKS, PARTS, SEGMENTATION, RegionSamples, check_samples
from lorkit.decompose.data.samples.source import Images, Source
from lorkit.decompose.errors import DataError, MissingDataError, UsageError
from lorkit.decompose.events import Listener, ignore, with_progress
from lorkit.decompose.regions import NODE


class Reader(NamedTuple):
    """One kind of source: its name, the number of leading entries that it takes, and its reading function."""

    kind: str
    accepts: Callable[[list[str]], int]
    read: Callable[[list[str], RegionConfig, OpenFiles], Source]


# Tried in this order; a new kind of source is one module and one line.
READERS = (
    Reader("phantom:REGION", phantom.accepts, phantom.read),
    Reader("MedMNIST .npz", medmnist.accepts, medmnist.read),
    Reader(".npz", npz.accepts, npz.read),
    Reader("CSV of NIfTI or DICOM volumes and masks", csv_pairs.accepts, csv_pairs.read),
    Reader("CSV manifest [with image root]", csv_manifest.accepts, csv_manifest.read),
    Reader("folder of NIfTI images and labels", nifti.accepts, nifti.read),
    Reader("folder of cases with segmentations", case_folders.accepts, case_folders.read),
    Reader("folder of classes", class_folder.accepts, class_folder.read),
)


def read_region(
    name: str,
    config: RegionConfig,
    *,
    base: Path,
    complete: bool = True,
    dims: int = 2,
    pseudonyms: Pseudonyms | None = None,
    files: OpenFiles | None = None,
) -> RegionSamples:
    """Read all samples of a region.

    Args:
        name: Region name.
        config: Location of its samples: `data`, or stated `train`, `val` and `test`.
        base: Directory for relative paths.
        complete: Require a sample of every class; False for a file that is only evaluated.
        dims: Entries of `image.size`: 2 reads 2D images, 3 volumes.
        pseudonyms: Keyed hashes of patient ids in DICOM headers; by default those of `runs/`.
        files: Shared with other regions, so that a file of several is read once.

    Raises:
        UsageError: An unknown kind of source, or an unsupported task.
        DataError: Samples that cannot be used; the message names file, sample and region.
    """
    if graph_files.accepts(config, base):
        return graph_files.read(name, config, base, complete=complete)
    refuse_region_keys(name, config, graph=False)
    _check_label(name, config)
    if config.data is not None:
        source = read_entries(config.data, config, base, files)
        return check_samples(name, config, source, complete=complete, dims=dims, pseudonyms=pseudonyms)
    sources = []
    for part in PARTS:
        if getattr(config, part) is None:  # the split takes it from train
            continue
        found = read_entries(getattr(config, part), config, base, files)
        sources.append(replace(found, parts=(part,) * len(found.labels)))  # the part of the list that names it
    joined = concatenate(sources)
    return check_samples(name, config, joined, complete=complete, dims=dims, pseudonyms=pseudonyms)


def _check_label(name: str, config: RegionConfig) -> None:
    """Refuse a column of labels where no table has one."""
    entries = [text for part in ("data", *PARTS) for text in getattr(config, part) or ()]
    if config.label is not None and not any(Path(text).suffix.lower() in csv_manifest.SUFFIXES for text in entries):
        raise UsageError(
            f"region '{name}' states label: {config.label}",
            required=f"a table ({', '.join(csv_manifest.SUFFIXES)}), whose column it names",
            fix="leave label out, or correct the data",
        )


def read_regions(
    config: Config, on_event: Listener = ignore, pseudonyms: Pseudonyms | None = None
) -> dict[str, RegionSamples]:
    """Read every region of a configuration, in its order.

    Raises:
        UsageError: As for `read_region`, or a setting that only graphs, or only images, have.
        DataError: As for `read_region`.
    """
    kinds = {graph_files.accepts(region, config.base) for region in config.regions.values()}
    if len(kinds) == 1:  # of both kinds there is no network, and training says so
        refuse_sections(config, graphs=kinds == {True})
        if kinds == {False}:
            check_views(config)
    dims = len(config.image.size)
    regions = with_progress(list(config.regions.items()), "reading data", on_event)
    files = OpenFiles.of(config)
    settings: dict[str, Any] = {"base": config.base, "dims": dims, "pseudonyms": pseudonyms, "files": files}
    samples = {name: read_region(name, region, **settings) for name, region in regions}
    files.drop_arrays()
    return samples


def expected_task(config: Config) -> str:
    """Return node if a region is a graph, segmentation if one is expected to have masks, without reading its data."""
    if any(graph_files.accepts(region, config.base) for region in config.regions.values()):
        return NODE
    for region in config.regions.values():
        if region.structures is not None or region.task == SEGMENTATION or region.may_overlap:
            return SEGMENTATION
        if region.task in KNOWN_TASKS:
            continue
        entries = [resolve_path(entry, config.base) for entry in region.data or region.train or ()]
        if entries and (
            nifti.accepts(entries)
            or case_folders.accepts(entries)
            or (npz.accepts(entries) and "labels" not in keys_of(Path(entries[0])))
        ):
            return SEGMENTATION
    return "classification"


def read_entries(entries: Sequence[str], config: RegionConfig, base: Path, files: OpenFiles | None = None) -> Source:
    """Read a list of data entries into one source, each with the first reader that takes it.

    A folder that the region names as `unlabelled` is no class of a folder of classes.
    """
    if config.unlabelled is not None:
        without = tuple(resolve_path(entry, base) for entry in config.unlabelled)
        config = config.model_copy(update={"unlabelled": without})
    left = [resolve_path(entry, base) for entry in entries]
    sources = []
    while left:
        reader, count = _reader_of(left)
        sources.append(reader.read(left[:count], config, files or OpenFiles()))
        left = left[count:]
    if not sources:
        raise DataError("an empty list of data", required="at least one path", fix="state the region's data")
    return concatenate(sources)


def _reader_of(entries: list[str]) -> tuple[Reader, int]:
    for reader in READERS:
        count = reader.accepts(entries)
        if count:
            return reader, count
    if not Path(entries[0]).exists():
        raise MissingDataError(f"no data at {entries[0]}", required="an existing file or folder", fix="check the path")
    kinds = ", ".join(reader.kind for reader in READERS)
    raise UsageError(f"data '{entries[0]}' is of an unknown kind", required=f"one of {kinds}", fix="convert it")


def concatenate(sources: Sequence[Source]) -> Source:
    """Join sources of one region; classes are matched by name.

    Groups of the same name in two sources are one group: the same patient may appear in both.

    Raises:
        DataError: Their targets are of several tasks, or their structures differ.
    """
    if len(sources) == 1:
        return sources[0]
    masks = _join_masks(sources)
    named = [source.classes for source in sources if source.classes]
    classes = tuple(dict.fromkeys(name for names in named for name in names))
    if masks is not None and any(names != classes for names in named):
        raise DataError(
            f"{sources[0].origin} and others name structures {' and '.join(', '.join(names) for names in named)}",
            required="the same structures in the same order in all data of a region",
            fix="name them alike, or make regions of them",
        )
    return Source(
        images=JoinedImages([source.images for source in sources]),
        labels=np.concatenate([_labels_of(source, classes) for source in sources]),
        classes=classes,
        ids=tuple(text for source in sources for text in source.ids),
        names=tuple(text for source in sources for text in source.names or source.ids),
        groups=tuple(text for source in sources for text in _groups_of(source)),
        parts=tuple(part for source in sources for part in source.parts),
        origin=", ".join(source.origin for source in sources),
        modality=next((source.modality for source in sources if source.modality), None),
        synthetic=any(source.synthetic for source in sources),
        masks=masks,
        spacings=tuple(one for source in sources for one in source.spacings or (None,) * len(source.labels)),
        identifying=any(source.identifying for source in sources),
        grouped=all(source.grouped for source in sources),
        notices=tuple(text for source in sources for text in source.notices),
        columns=join_columns([(source.columns, len(source.labels)) for source in sources]),
    )


def _groups_of(source: Source) -> list[str]:
    """Return a source's groups among others: files of the same name in two folders are not of one patient."""
    own = source.names or source.ids
    return [
        f"{source.origin}: {group}" if group == name else group for group, name in zip(source.groups, own, strict=True)
    ]


def _labels_of(source: Source, classes: tuple[str, ...]) -> NDArray[np.int64]:
    """Return a source's labels in the order of all classes; labels that it does not state are uncertain."""
    places = np.array([classes.index(name) for name in source.classes], dtype=np.int64)
    if source.task == MULTILABEL:
        table = np.full((len(source.labels), len(classes)), UNCERTAIN, dtype=np.int64)
        table[:, places] = source.labels
        return table
    return source.labels if source.masks is not None else places[source.labels]


def _join_masks(sources: Sequence[Source]) -> Images | None:
    tasks = {source.task: source.origin for source in sources}
    if len(tasks) > 1:
        raise DataError(
            "data of several tasks in one region: " + ", ".join(f"{origin} ({task})" for task, origin in tasks.items()),
            required="one task",
            fix="make regions of them",
        )
    masks = [source.masks for source in sources if source.masks is not None]
    return JoinedImages(masks) if masks else None


class JoinedImages:
    """Several image sequences as one."""

    def __init__(self, blocks: Sequence[Images]) -> None:
        self._blocks = blocks
        self._starts = np.cumsum([0, *(len(block) for block in blocks)])

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __getitem__(self, index: int, /) -> Any:
        if not 0 <= index < len(self):
            raise IndexError(index)
        block = int(np.searchsorted(self._starts, index, side="right")) - 1
        return self._blocks[block][index - int(self._starts[block])]
