"""Regions of a drafted configuration: what a source states, what its images need, and whether training can use it.

Shapes: an image is (H, W), (H, W, 3) or a volume (D, H, W).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lorkit.decompose.config import RegionConfig, SplitConfig
from lorkit.decompose.config.recommendation import RegionSize
from lorkit.decompose.data.formats import nifti
from lorkit.decompose.data.formats.checks import check_image, unit_range
from lorkit.decompose.data.formats.dicom_series import is_series
from lorkit.decompose.data.readers import case_folders
from lorkit.decompose.data.readers.discovery import FoundSource
from lorkit.decompose.data.readers.image_files import FileImages
from lorkit.decompose.data.readers.nifti import states_overlap
from lorkit.decompose.data.readers.registry import read_entries, read_region
from lorkit.decompose.data.readers.structure_discovery import find_structures
from lorkit.decompose.data.samples.patients import propose
from lorkit.decompose.data.samples.samples import RegionSamples
from lorkit.decompose.data.samples.source import Source
from lorkit.decompose.data.splits import find_leaks, split_regions
from lorkit.decompose.errors import DataError, LorkitError, plural

MOST_BYTES = 2 * 1024**3
"""Files of a source that are all opened; of more, only some are."""
_SAMPLE = 24
_CT = (-1000.0, 1000.0)
_AIR = -500.0  # Hounsfield units that only CT has
_DULL = 0.15  # of [0, 1]: images that use less need another rule


@dataclass(frozen=True, kw_only=True)
class RegionDraft:
    """A region.

    Attributes:
        name: Its name.
        settings: Keys of its section; paths are absolute.
        dims: 2 for pictures, 3 for volumes.
        shape: Median sides of its images.
        colour: Whether an image has colours.
        size: Counts for a recommendation.
        notes: What was chosen, and what the user should know.
        samples: Its samples without pixels, None where there are too many to open all.
    """

    name: str
    settings: dict[str, Any]
    dims: int
    shape: tuple[float, ...]
    colour: bool
    size: RegionSize
    notes: tuple[str, ...] = ()
    samples: RegionSamples | None = None


def draft_region(entry: FoundSource, *, most_bytes: int = MOST_BYTES) -> RegionDraft:
    """Return the region that a source becomes.

    Args:
        entry: A source of images without a problem.
        most_bytes: Of files that are all opened to see whether training can use them.

    Raises:
        LorkitError: Training cannot use it; the message says why and what to do.
    """
    settings = located(entry)
    notes: list[str] = []
    if entry.masks:
        if case_folders.accepts([str(entry.path)]):
            keys, said = case_folders.draft(entry.path)
            settings |= keys
            notes += said
        elif entry.path.is_dir() and states_overlap(entry.path):
            settings |= {"task": "structures", "overlap": True}  # the names are in the data
        else:
            structures, said = find_structures(entry.path)
            settings |= {"task": "segmentation", "structures": structures}
            notes += said
    source = _read(settings)
    images = _sample(source)
    dims = _dims(source, images)
    for image in images:
        check_image(image, dims)
    settings |= _intensity(source, images)
    proposal = None if source.grouped else propose(source.names or source.ids, source.parts)
    if proposal is not None and proposal.torn is None:
        settings["groups"] = proposal.pattern
    shapes = np.array([image.shape[:dims] for image in images])
    draft = RegionDraft(
        name=entry.name,
        settings=settings,
        dims=dims,
        shape=tuple(float(side) for side in np.median(shapes, axis=0)),
        colour=any(image.ndim > dims and _coloured(image) for image in images),
        size=_size_of(source, len(set(source.groups))),
        notes=(*notes, *_about_slices(source, dims), *source.notices),
    )
    if _bytes(source) > most_bytes:
        told = f"of {plural(len(source.ids), 'image')} only {len(images)} were opened; `decompose data` opens all"
        return replace(draft, notes=(*draft.notes, told))
    return _checked(draft)


def located(entry: FoundSource) -> dict[str, Any]:
    """Return the keys of a region that say where its samples are, and what a reader must be told."""
    parts = entry.parts or {"data": tuple(path for path in (entry.path, entry.root) if path is not None)}
    settings: dict[str, Any] = {part: [str(path.resolve()) for path in paths] for part, paths in parts.items()}
    if entry.labels:
        settings |= {"task": "multilabel", "classes": list(entry.labels)}
    elif entry.task is not None:
        settings["task"] = entry.task
    if entry.label is not None:
        settings["label"] = entry.label
    if entry.unlabelled is not None:
        settings["unlabelled"] = [str(entry.unlabelled.resolve())]
    return settings


def _read(settings: dict[str, Any]) -> Source:
    config = RegionConfig.model_validate(settings)
    entries = config.data or (*(config.train or ()), *(config.val or ()), *(config.test or ()))
    return read_entries(entries, config, Path("/"))


def _checked(draft: RegionDraft) -> RegionDraft:
    """Return a draft that training can split, with other settings where those at first do not work.

    Raises:
        LorkitError: No setting helps.
    """
    notes = list(draft.notes)
    settings = dict(draft.settings)
    try:
        samples = _split(draft, settings)
    except LorkitError:
        if "groups" not in settings:
            raise
        pattern = settings.pop("groups")  # too few of them for a split, or of too few classes
        notes.append(f"names suggest groups: '{pattern}', which no split of all classes allows: by image")
        samples = _split(draft, settings)
    if samples.parts[0] is not None and "parts" not in settings and find_leaks(samples):
        count = plural(len(find_leaks(samples)), "image or patient", plural="images or patients")
        notes.append(f"{count} in several of the stated parts: parts: anew splits again")
        settings["parts"] = "anew"
        samples = _split(draft, settings)
    if "groups" in settings:
        notes.append(f"patients from the names of files: {len(set(samples.groups))}, by groups: '{settings['groups']}'")
    elif samples.region.grouped:
        notes.append(f"{plural(len(set(samples.groups)), 'patient or other group', plural='patients or other groups')}")
    notes += [note for note in samples.notices if note not in notes]
    size = _size_of(samples, len(set(samples.groups)))
    nothing = _NoImages(len(samples))  # images in memory are freed
    kept = replace(samples, images=nothing, masks=None if samples.masks is None else nothing)
    return replace(draft, settings=settings, notes=tuple(notes), size=size, samples=kept)


def _split(draft: RegionDraft, settings: dict[str, Any]) -> RegionSamples:
    """Read all samples of a region and split them, unless stated parts share images."""
    config = RegionConfig.model_validate(settings)
    samples = read_region(draft.name, config, base=Path("/"), dims=draft.dims)
    if samples.parts[0] is None or not find_leaks(samples):
        split_regions({draft.name: samples}, SplitConfig(), seed=0)
    return samples


class _NoImages:
    """Images that were seen and are no longer needed."""

    def __init__(self, count: int) -> None:
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int, /) -> Any:
        raise IndexError(index)


def _size_of(source: Source, patients: int) -> RegionSize:
    labels = len(source.classes)
    return RegionSize(images=len(source.ids), patients=patients, labels=labels, masks=source.masks is not None)


def _sample(source: Source) -> list[NDArray[Any]]:
    count = len(source.ids)
    if not count:
        raise DataError(f"no samples in {source.origin}", required="at least one", fix="check the path")
    chosen = np.unique(np.linspace(0, count - 1, min(count, _SAMPLE)).astype(int))
    return [source.images[int(index)] for index in chosen]


def _dims(source: Source, images: Sequence[NDArray[Any]]) -> int:
    """Return 2 for pictures and 3 for volumes; raise DataError for a mixture, and for pictures of other channels."""
    volumes = _is_nifti(source)
    other = next(
        (image.shape for image in images if not volumes and image.ndim == 3 and image.shape[2] in (2, 4)), None
    )
    if other is not None:
        raise DataError(
            f"{source.origin} holds images of shape {other}",
            required="(H, W) gray, (H, W, 3) colour, or (D, H, W) volumes",
            fix="keep one or three channels",
        )
    dims = {3 if image.ndim == 3 and (volumes or image.shape[2] != 3) else 2 for image in images}
    if len(dims) > 1:
        raise DataError(
            f"{source.origin} holds pictures and volumes",
            required="one of them in a region",
            fix="put them into folders, or tables, of their own",
        )
    return dims.pop()


def _is_nifti(source: Source) -> bool:
    return isinstance(source.images, FileImages) and all(map(nifti.accepts, source.images.paths[:1]))


def _about_slices(source: Source, dims: int) -> list[str]:
    """Say so where slices of series are pictures of their own."""
    if dims == 3 or not isinstance(source.images, FileImages) or not is_series(source.images.paths[0].parent):
        return []
    return ["each slice of a DICOM series is an image of its own: for volumes list their folders in a table"]


def _intensity(source: Source, images: Sequence[NDArray[Any]]) -> dict[str, Any]:
    """Return the rule that maps pixels to [0, 1], where the rule of the dtype would not do."""
    lowest, widest = min(float(image.min()) for image in images), max(float(np.ptp(image)) for image in images)
    if lowest <= _AIR and widest > -_AIR:
        return {"window": list(_CT)}
    if _is_nifti(source):
        return {"intensity": "percentile"}  # MRI has no unit
    try:
        shares = [float(np.ptp(image)) / (high - low) for image in images for low, high in [unit_range(image)]]
    except DataError:
        return {"intensity": "percentile"}
    return {"intensity": "percentile"} if float(np.median(shares)) < _DULL else {}


def _coloured(image: NDArray[Any]) -> bool:
    return bool((image != image[..., :1]).any())


def _bytes(source: Source) -> int:
    if not isinstance(source.images, FileImages):
        return 0  # arrays are in memory already
    files = [path for one in source.images.paths for path in ([one] if one.is_file() else one.iterdir())]
    return sum(path.stat().st_size for path in files)
