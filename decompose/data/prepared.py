"""Prepared regions: every image preprocessed once, in memory or, if large, in a memory-mapped file.

Shapes: N samples, C channels of the recipe, P planes stored (1 if all images are gray, else C); `spatial` is the
recipe's size, (H, W) or (D, H, W).
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from lorkit.decompose.artifacts.arrays import Bits, Float32Array, Mask
from lorkit.decompose.config import RegionAugment
from lorkit.decompose.data.preprocessing.recipe import apply_recipe, range_notice, resize_mask
from lorkit.decompose.data.preprocessing.region_check import overview
from lorkit.decompose.data.samples.columns import Columns, take_columns
from lorkit.decompose.data.samples.originals import OriginalMasks
from lorkit.decompose.data.samples.samples import RegionSamples
from lorkit.decompose.data.volumes import PreparedVolumes, prepare_volumes
from lorkit.decompose.documents.recipe import Recipe
from lorkit.decompose.errors import DataError, StorageError
from lorkit.decompose.events import Listener, ignore, with_progress
from lorkit.decompose.regions import NODE, Region

if TYPE_CHECKING:
    from lorkit.decompose.data.node_samples import GraphPlaces

_MEMORY_BYTES = 2 * 1024**3


@dataclass(frozen=True, kw_only=True, eq=False)
class PreparedRegion:
    """Samples ready for a network.

    Attributes:
        stored: (N, P, *spatial) float32 in [0, 1]; gray images are stored once for all channels.
        labels: (N,) int64; zeros if there are masks; (N, L) of 1, 0 and -1 (uncertain) of a multilabel region.
        masks: (N, *spatial) uint8 of a segmentation, uint32 if structures may overlap; None of other tasks.
        originals: The same masks at the size of their images, read when asked for; None without masks.
        target_names: Name of each sample's class, or digest of its mask.
        columns: Further columns of the source.
        places: Of nodes, where they are in their graph; else None.
        volumes: Of a recipe with a spacing, the whole cases. `stored` and `masks` are then one window of each, around
            the middle of its structures, for everything that takes inputs of the network.
        notices: Notices for the user on the mapping of pixels to [0, 1].
    """

    region: Region
    recipe: Recipe
    stored: Float32Array
    labels: NDArray[np.int64]
    groups: tuple[str, ...]
    ids: tuple[str, ...]
    digests: tuple[str, ...]
    target_names: tuple[str, ...] = ()
    columns: Columns = field(default_factory=dict)
    notices: tuple[str, ...] = ()
    masks: Mask | Bits | None = None
    originals: OriginalMasks | None = None
    augment: RegionAugment | Literal[False] | None = None
    places: GraphPlaces | None = None
    volumes: PreparedVolumes | None = None

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def images(self) -> Float32Array:
        """(N, C, *spatial) float32, read-only; gray planes are repeated as a view, without a copy."""
        count, _, *spatial = self.stored.shape
        return np.broadcast_to(self.stored, (count, self.recipe.channels, *spatial))

    @property
    def targets(self) -> NDArray[Any]:
        """Targets: (N,) or (N, L) labels, or (N, *spatial) masks of a segmentation."""
        return self.labels if self.masks is None else self.masks

    def take(self, indices: Sequence[int] | NDArray[np.int64]) -> PreparedRegion:
        """Return the samples at `indices`, in that order."""
        chosen = np.asarray(indices, dtype=np.int64)
        return replace(
            self,
            stored=self.stored[chosen],
            labels=self.labels[chosen],
            groups=tuple(self.groups[index] for index in chosen),
            ids=tuple(self.ids[index] for index in chosen),
            digests=tuple(self.digests[index] for index in chosen),
            target_names=tuple(self.target_names[index] for index in chosen) if self.target_names else (),
            columns=take_columns(self.columns, chosen.tolist()),
            masks=None if self.masks is None else self.masks[chosen],
            originals=None if self.originals is None else self.originals.take(chosen),
            places=None if self.places is None else self.places.take(chosen),
            volumes=None if self.volumes is None else self.volumes.take(chosen),
        )

    @property
    def overviews(self) -> Float32Array:
        """What the in-region check sees: `images`, or a small copy of each whole case."""
        if self.volumes is None:
            return self.images
        found = np.stack([overview(self.volumes[row].image) for row in range(len(self))])
        return np.broadcast_to(found, (len(self), self.recipe.channels, *found.shape[2:]))


def join_prepared(one: PreparedRegion, two: PreparedRegion) -> PreparedRegion:
    """Return the unlabelled samples of two sources of a region; columns and names of targets are left out."""
    planes = max(part.stored.shape[1] for part in (one, two))
    stored = [np.broadcast_to(part.stored, (len(part), planes, *part.stored.shape[2:])) for part in (one, two)]
    return replace(
        one,
        stored=np.concatenate(stored),
        labels=np.concatenate([one.labels, two.labels]),
        groups=one.groups + two.groups,
        ids=one.ids + two.ids,
        digests=one.digests + two.digests,
        target_names=(),
        columns={},
    )


class PreparedImages:
    """Images that are prepared already: those of several regions with equal recipes are prepared once."""

    def __init__(self) -> None:
        self._places: dict[tuple[str, str], tuple[Float32Array, int, float]] = {}

    def find(self, recipe: str, digest: str) -> tuple[Float32Array, float] | None:
        """Return an image (P, *spatial) and its brightest 16-bit value, -1 for other images; None if it is new."""
        place = self._places.get((recipe, digest))
        return None if place is None else (place[0][place[1]], place[2])

    def whole(self, recipe: str, digests: Sequence[str]) -> tuple[Float32Array, float] | None:
        """Return the array of exactly these images in this order, and their brightest value; None without one."""
        places = [self._places.get((recipe, digest)) for digest in digests]
        first = places[0] if places else None
        if first is None or len(first[0]) != len(digests):
            return None
        fits = all(one is not None and one[0] is first[0] and one[1] == row for row, one in enumerate(places))
        return (first[0], max(one[2] for one in places if one is not None)) if fits else None

    def add(self, recipe: str, digests: Sequence[str], stored: Float32Array, brightest: Sequence[float]) -> None:
        """Add the images of an array (N, P, *spatial), each with its brightest value."""
        for row, (digest, value) in enumerate(zip(digests, brightest, strict=True)):
            self._places.setdefault((recipe, digest), (stored, row, value))


def prepare(
    samples: RegionSamples,
    recipe: Recipe,
    *,
    indices: Sequence[int] | NDArray[np.int64] | None = None,
    shared: PreparedImages | None = None,
    folds: int = 0,
    memory_bytes: int = _MEMORY_BYTES,
    on_event: Listener = ignore,
) -> PreparedRegion:
    """Apply a recipe to the images or nodes of a region.

    Args:
        samples: A region's samples.
        recipe: Its preprocessing.
        indices: Which samples, in which order; None takes all.
        shared: Images that are prepared already; new ones are added.
        folds: Of nodes: labels of a training node's own fold are hidden from it; 0 hides its own label only.
        memory_bytes: Above this size the result is an unnamed temporary file, mapped into memory.
        on_event: Receives progress.

    Raises:
        DataError: An image cannot be used; the message names sample and region.
        StorageError: No room for the temporary file.
    """
    chosen = np.arange(len(samples), dtype=np.int64) if indices is None else np.asarray(indices, dtype=np.int64)
    places = volumes = None
    masks: Mask | Bits | None = None
    if samples.region.task == NODE:
        stored, places = _nodes(samples, recipe, chosen, folds, on_event)
        brightest = -1.0
    elif recipe.window is not None:
        volumes = prepare_volumes(samples, recipe, chosen, _planes(samples, chosen, recipe), on_event)
        stored, masks, brightest = *_central_windows(volumes, samples.masks is not None), -1.0
    else:
        known = shared or PreparedImages()
        whole = known.whole(str(recipe), [samples.digests[index] for index in chosen])
        if whole is None:
            whole = _prepared_images(samples, recipe, chosen, known, memory_bytes, on_event)
        stored, brightest = whole
        masks = _masks(samples, chosen, recipe)
    notice = range_notice(recipe, brightest) if brightest >= 0 else None
    return PreparedRegion(
        region=samples.region,
        recipe=recipe,
        stored=stored,
        labels=samples.labels[chosen],
        groups=tuple(samples.groups[index] for index in chosen),
        ids=tuple(samples.ids[index] for index in chosen),
        digests=tuple(samples.digests[index] for index in chosen),
        target_names=tuple(samples.target(int(index)) for index in chosen),
        columns=take_columns(samples.columns, chosen.tolist()),
        notices=(f"region '{samples.region.name}': {notice}",) if notice else (),
        masks=masks,
        originals=_originals(samples, chosen),
        augment=samples.augment,
        places=places,
        volumes=volumes,
    )


def _nodes(
    samples: RegionSamples, recipe: Recipe, chosen: NDArray[np.int64], folds: int, on_event: Listener
) -> tuple[Float32Array, GraphPlaces]:
    from lorkit.decompose.data.node_samples import GraphPlaces, NodeSamples  # with SciPy, which images do not need
    from lorkit.decompose.data.preprocessing.nodes import prepared_nodes

    assert isinstance(samples, NodeSamples)  # as all of this task
    stored = prepared_nodes(samples, recipe, chosen, folds=folds, on_event=on_event)
    return stored, GraphPlaces(graph=samples.graph, rows=samples.rows[chosen])


def _central_windows(volumes: PreparedVolumes, labelled: bool) -> tuple[Float32Array, Mask | Bits | None]:
    rows = np.arange(len(volumes))
    starts = [volumes.central(row) for row in rows.tolist()]
    return volumes.images(rows, starts), volumes.masks(rows, starts) if labelled else None


def _planes(samples: RegionSamples, chosen: NDArray[np.int64], recipe: Recipe) -> int:
    return 1 if samples.gray[chosen].all() else recipe.channels


def _prepared_images(
    samples: RegionSamples,
    recipe: Recipe,
    chosen: NDArray[np.int64],
    known: PreparedImages,
    memory_bytes: int,
    on_event: Listener,
) -> tuple[Float32Array, float]:
    """Return (N, P, *spatial), and the brightest value of 16-bit images, -1 without one."""
    planes, name = _planes(samples, chosen, recipe), str(recipe)
    stored = _allocate((len(chosen), planes, *recipe.size), memory_bytes)
    brightest: list[float] = []
    for row, index in enumerate(with_progress(chosen.tolist(), f"preparing {samples.region.name}", on_event)):
        found = known.find(name, samples.digests[index])
        if found is None:
            image = samples.images[index]
            value = float(image.max()) if image.dtype == np.uint16 else -1.0
            found = _apply(samples, index, image, recipe), value
        stored[row] = found[0][:planes]  # one plane fills all
        brightest.append(found[1])
    known.add(name, [samples.digests[index] for index in chosen], stored, brightest)
    return stored, max(brightest, default=-1.0)


def _masks(samples: RegionSamples, chosen: NDArray[np.int64], recipe: Recipe) -> Mask | Bits | None:
    if samples.masks is None:
        return None
    masks = np.empty((len(chosen), *recipe.size), dtype=np.uint32 if samples.overlap else np.uint8)
    for row, index in enumerate(chosen.tolist()):
        masks[row] = resize_mask(samples.masks[index], recipe.size)
    return masks


def _originals(samples: RegionSamples, chosen: NDArray[np.int64]) -> OriginalMasks | None:
    if samples.masks is None:
        return None
    return OriginalMasks(
        masks=samples.masks,
        spacings=samples.spacings or (None,) * len(samples),
        tolerances=samples.nsd_tolerances,
        indices=tuple(chosen.tolist()),
    )


def _apply(samples: RegionSamples, index: int, image: NDArray[Any], recipe: Recipe) -> Float32Array:
    try:
        return apply_recipe(recipe, image)
    except DataError as error:
        raise DataError(f"{samples.describe(index)}: {error.given}", required=error.required, fix=error.fix) from None


def _allocate(shape: tuple[int, ...], memory_bytes: int) -> Float32Array:
    if int(np.prod(shape)) * 4 <= memory_bytes:
        return np.empty(shape, dtype=np.float32)
    try:
        with tempfile.TemporaryFile(prefix="lorkit-") as stream:  # unnamed: freed with the last mapping
            return np.memmap(stream, dtype=np.float32, mode="w+", shape=shape)
    except OSError as error:
        raise StorageError(
            f"no room for {int(np.prod(shape)) * 4} bytes of prepared images in {tempfile.gettempdir()} ({error})",
            required="free disk space",
            fix="free some, or name another directory with TMPDIR",
        ) from None
