"""The registry of readers: choose the reader of a region's data entries, and read them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from lorkit.decompose.config import Config, RegionConfig, resolve_path
from lorkit.decompose.data.phantoms import reader as phantom
from lorkit.decompose.data.readers import class_folder, csv_manifest, medmnist, nifti, npz
from lorkit.decompose.data.readers.joining import concatenate
from lorkit.decompose.data.samples.samples import KNOWN_TASKS, PARTS, RegionSamples, check_samples
from lorkit.decompose.data.samples.source import Source
from lorkit.decompose.errors import DataError, UsageError
from lorkit.decompose.events import Listener, ignore, with_progress


class Reader(NamedTuple):
    """One kind of source: its name, the number of leading entries that it takes, and its reading function."""

    kind: str
    accepts: Callable[[list[str]], int]
    read: Callable[[list[str], RegionConfig], Source]


# Tried in this order; a new kind of source is one module and one line.
READERS = (
    Reader("phantom:REGION", phantom.accepts, phantom.read),
    Reader("MedMNIST .npz", medmnist.accepts, medmnist.read),
    Reader(".npz", npz.accepts, npz.read),
    Reader("CSV manifest [with image root]", csv_manifest.accepts, csv_manifest.read),
    Reader("folder of NIfTI images and labels", nifti.accepts, nifti.read),
    Reader("folder of classes", class_folder.accepts, class_folder.read),
)


def read_region(name: str, config: RegionConfig, *, base: Path, complete: bool = True, dims: int = 2) -> RegionSamples:
    """Read all samples of a region.

    Args:
        name: Region name.
        config: Location of its samples: `data`, or stated `train`, `val` and `test`.
        base: Directory for relative paths.
        complete: Require a sample of every class; False for a file that is only evaluated.
        dims: Entries of `image.size`: 2 reads 2D images, 3 volumes.

    Raises:
        UsageError: An unknown kind of source, or an unsupported task.
        DataError: Samples that cannot be used; the message names file, sample and region.
    """
    if config.data is not None:
        return check_samples(name, config, read_entries(config.data, config, base), complete=complete, dims=dims)
    sources = []
    for part in PARTS:
        found = read_entries(getattr(config, part) or (), config, base)
        sources.append(replace(found, parts=(part,) * len(found.labels)))  # the part of the list that names it
    return check_samples(name, config, concatenate(sources), complete=complete, dims=dims)


def read_regions(config: Config, on_event: Listener = ignore) -> dict[str, RegionSamples]:
    """Read every region of a configuration, in its order.

    Raises:
        UsageError: Its regions have different tasks; else as for `read_region`.
        DataError: As for `read_region`.
    """
    dims = len(config.image.size)
    regions = with_progress(list(config.regions.items()), "reading data", on_event)
    samples = {name: read_region(name, region, base=config.base, dims=dims) for name, region in regions}
    tasks = {one.region.task: name for name, one in samples.items()}
    if len(tasks) > 1:
        raise UsageError(
            "regions of several tasks: " + ", ".join(f"{task} ('{name}')" for task, name in tasks.items()),
            required="one task in one configuration",
            fix="write a configuration for each task",
        )
    return samples


def expected_task(config: Config) -> str:
    """Return the task that a configuration is expected to have, without reading its data."""
    for region in config.regions.values():
        if region.task in KNOWN_TASKS:
            return str(region.task)
        if region.structures is not None:
            return "segmentation"
        entries = [resolve_path(entry, config.base) for entry in region.data or region.train or ()]
        if entries and (
            nifti.accepts(entries) or (npz.accepts(entries) and "labels" not in npz.keys_of(Path(entries[0])))
        ):
            return "segmentation"
    return "classification"


def read_entries(entries: Sequence[str], config: RegionConfig, base: Path) -> Source:
    """Read a list of data entries into one source, each with the first reader that takes it."""
    left = [resolve_path(entry, base) for entry in entries]
    sources = []
    while left:
        reader, count = _reader_of(left)
        sources.append(reader.read(left[:count], config))
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
        raise DataError(f"no data at {entries[0]}", required="an existing file or folder", fix="check the path")
    kinds = ", ".join(reader.kind for reader in READERS)
    raise UsageError(f"data '{entries[0]}' is of an unknown kind", required=f"one of {kinds}", fix="convert it")
