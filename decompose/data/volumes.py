"""Whole cases at the spacing of a recipe, kept in files, and the windows of them that a network is trained on.

A case is resampled once: its files lie below `foundations/volumes/` beside the runs, named by a digest of all that they
depend on, and every later command opens them. A damaged one is made again.

Shapes: N cases, P planes stored (1 if all images are gray, else C), D H W a case, d h w a window, M voxels of
structures; a place is (structure, d, h, w).
"""

from __future__ import annotations

import shutil
import tempfile
import time
import weakref
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lorkit.decompose.artifacts import digest_json, is_current, staged_directory, write_manifest
from lorkit.decompose.artifacts.arrays import IGNORED, IGNORED_BIT, Bits, Float32Array, Ints, Mask
from lorkit.decompose.artifacts.masks import may_overlap, of_structure
from lorkit.decompose.data.preprocessing.recipe import apply_recipe, prepared_size, resize_mask
from lorkit.decompose.data.preprocessing.window_grid import WindowGrid
from lorkit.decompose.data.random_numbers import Keys, uniform
from lorkit.decompose.data.samples.samples import RegionSamples
from lorkit.decompose.documents.recipe import Recipe, Window
from lorkit.decompose.errors import ArtifactError, BusyError, DataError, StorageError, refusing_damage
from lorkit.decompose.events import Listener, with_progress

KIND = "volume"
_VERSION = 1
_OPEN = 64  # cases whose files are open at once, below the limits of systems
_PLACES = 1024  # voxels of each structure of a case that windows are drawn around
_FOREGROUND, _STRUCTURE, _VOXEL, _FIRST_AXIS = 90, 91, 92, 93
_POLL_S = 0.2
_IMAGE, _MASK, _PLACE = "image.npy", "mask.npy", "places.npy"


class WholeCase(NamedTuple):
    """One case: image (P, D, H, W) float32 in [0, 1], mask (D, H, W) or None, places (M, 4) of its structures.

    `firsts` are the rows of `places` at which another structure begins, and M.
    """

    image: Float32Array
    mask: Mask | Bits | None
    places: Ints
    firsts: tuple[int, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class PreparedVolumes:
    """Whole cases of a region, opened when asked for.

    Attributes:
        window: The windows of the network.
        folders: Directory of each case's files.
        planes: P.
        holder: Of a temporary directory, as long as its cases are used.
    """

    window: Window
    folders: tuple[Path, ...]
    planes: int
    holder: _TemporaryFolder | None = None

    def __len__(self) -> int:
        return len(self.folders)

    def __getitem__(self, row: int, /) -> WholeCase:
        """Open one case; its arrays are mapped into memory, read-only."""
        return _opened(self.folders[row])

    def take(self, rows: Sequence[int] | NDArray[np.int64]) -> PreparedVolumes:
        """Return the cases at `rows`, in that order."""
        return replace(self, folders=tuple(self.folders[int(row)] for row in rows))

    def central(self, row: int) -> tuple[int, ...]:
        """Return the start of the window around the middle of a case's structures, or of the case."""
        case = self[row]
        sides = np.array(case.image.shape[1:])
        middle = np.median(case.places[:, 1:], axis=0) if len(case.places) else sides / 2
        return self._inside(middle[None], sides[None])[0]

    def starts(self, rows: NDArray[np.int64], keys: Keys, foreground: float) -> list[tuple[int, ...]]:
        """Draw a window of each case: around a voxel of a structure with probability `foreground`, else anywhere.

        Structures of a case are equally probable whatever their size, then voxels of the structure.

        Args:
            rows: (n,) cases.
            keys: (n,) keys of their draws.
            foreground: A probability.

        Returns:
            The start of each window, as `WindowGrid.cut` takes it.
        """
        drawn_6n = np.stack([uniform(keys, draw) for draw in range(_FOREGROUND, _FIRST_AXIS + 3)]).astype(np.float64)
        centres, sides = np.empty((len(rows), 3)), np.empty((len(rows), 3))
        size = np.array(self.window.size)
        for at, row in enumerate(rows.tolist()):
            case, (chosen, structure, voxel, *free) = self[row], drawn_6n[:, at]
            sides[at] = case.image.shape[1:]
            if len(case.places) and chosen < foreground:
                index = int(structure * (len(case.firsts) - 1))
                first, last = case.firsts[index : index + 2]
                centres[at] = case.places[first + int(voxel * (last - first)), 1:]
            else:
                centres[at] = np.floor(free * np.maximum(sides[at] - size + 1, 1)) + size // 2
        return self._inside(centres, sides)

    def images(self, rows: NDArray[np.int64], starts: Sequence[Sequence[int]]) -> Float32Array:
        """Return the windows (n, P, d, h, w) of cases; 0 outside a case."""
        found = np.empty((len(rows), self.planes, *self.window.size), dtype=np.float32)
        for at, (row, start) in enumerate(zip(rows.tolist(), starts, strict=True)):
            found[at] = self.grid(row).cut(self[row].image, start)
        return found

    def masks(self, rows: NDArray[np.int64], starts: Sequence[Sequence[int]]) -> Mask | Bits:
        """Return the masks (n, d, h, w) of windows; ignored outside a case."""
        windows = [np.zeros((0, *self.window.size), dtype=np.uint8)][: 0 if len(rows) else 1]
        for row, start in zip(rows.tolist(), starts, strict=True):
            mask = self[row].mask
            assert mask is not None  # masks are asked of labelled cases only
            fill = IGNORED_BIT if may_overlap(mask) else IGNORED
            windows.append(self.grid(row).cut(mask[None], start, fill))
        return np.concatenate(windows)

    def grid(self, row: int) -> WindowGrid:
        """Return the windows that cover a case."""
        return WindowGrid.of(self[row].image.shape[1:], self.window)

    def _inside(self, centres_N3: NDArray[Any], sides_N3: NDArray[Any]) -> list[tuple[int, ...]]:
        """Return the starts of windows around places, moved into the padded cases."""
        size = np.array(self.window.size)
        padded = np.maximum(sides_N3, size)
        before = (padded - sides_N3) // 2
        starts_N3 = np.clip(np.floor(centres_N3) - size // 2 + before, 0, padded - size)
        return [tuple(row) for row in starts_N3.astype(int).tolist()]


def prepare_volumes(
    samples: RegionSamples, recipe: Recipe, chosen: NDArray[np.int64], planes: int, on_event: Listener
) -> PreparedVolumes:
    """Resample cases and keep them in files, or open those that are kept already.

    Args:
        samples: A region's samples.
        recipe: A recipe with a spacing.
        chosen: Which samples, in which order.
        planes: Planes to keep: 1, or all channels.
        on_event: Receives progress.

    Raises:
        DataError: A case cannot be used, or states no spacing; the message names it.
        StorageError: No room for the files.
    """
    assert recipe.window is not None
    holder = None
    root = samples.store
    if root is None:
        holder = _TemporaryFolder()
        root = holder.path
    folders = []
    for index in with_progress(chosen.tolist(), f"preparing {samples.region.name}", on_event):
        inputs = _inputs(samples, index, recipe, planes)
        folder = root / inputs[:32]
        while not _is_kept(folder, inputs):
            try:
                _keep(samples, index, recipe, planes, folder, inputs)
            except BusyError:  # another training resamples this case
                time.sleep(_POLL_S)
        folders.append(folder)
    return PreparedVolumes(window=recipe.window, folders=tuple(folders), planes=planes, holder=holder)


class _TemporaryFolder:
    """A directory that is removed with the last reference to it, or at the end of the process."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="lorkit-"))
        weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)


def _inputs(samples: RegionSamples, index: int, recipe: Recipe, planes: int) -> str:
    """Return the digest of all that the files of a case depend on; windows are cut from them, and are no part."""
    steps = [step.model_dump() for step in recipe.steps if step.op in ("intensity", "resample", "channels")]
    mask = samples.mask_digests[index] if samples.mask_digests else None
    spacing = samples.spacings[index] if samples.spacings else None
    return digest_json([_VERSION, samples.digests[index], mask, spacing, steps, planes, samples.region.task])


def _is_kept(folder: Path, inputs: str) -> bool:
    try:
        return is_current(folder, KIND, inputs)
    except ArtifactError:  # damaged, and nothing is lost by making it again
        return False


def _keep(samples: RegionSamples, index: int, recipe: Recipe, planes: int, folder: Path, inputs: str) -> None:
    spacing = samples.spacings[index] if samples.spacings else None
    try:
        image = samples.images[index]
        values = apply_recipe(recipe, image, spacing)[:planes]
        target = prepared_size(recipe, image.shape[:3], spacing)
    except DataError as error:
        raise DataError(f"{samples.describe(index)}: {error.given}", required=error.required, fix=error.fix) from None
    mask = None if samples.masks is None else resize_mask(np.asarray(samples.masks[index]), target)
    with ExitStack() as stack:
        try:
            staging = stack.enter_context(staged_directory(folder))
            np.save(staging / _IMAGE, np.ascontiguousarray(values))
            if mask is not None:
                np.save(staging / _MASK, mask)
                np.save(staging / _PLACE, _places(mask, samples))
            write_manifest(staging, KIND, synthetic=samples.region.synthetic, inputs=inputs)
        except OSError as error:
            raise StorageError(
                f"no room for {values.nbytes} bytes of a resampled volume in {folder.parent} ({error})",
                required="free disk space",
                fix="free some, or use a coarser spacing",
            ) from None
    _opened.cache_clear()  # of a damaged case that was made again


def _places(mask: Mask | Bits, samples: RegionSamples) -> Ints:
    """Return (M, 4) structure and voxel: of each structure at most `_PLACES` voxels, evenly spaced."""
    found = [np.zeros((0, 4), dtype=np.int32)]
    for structure in range(len(samples.region.classes)):
        flat = np.flatnonzero(of_structure(mask, structure + 1))
        if len(flat) > _PLACES:
            flat = flat[np.linspace(0, len(flat) - 1, _PLACES).astype(np.int64)]
        voxels = np.stack(np.unravel_index(flat, mask.shape), axis=1)
        found.append(np.column_stack([np.full(len(flat), structure), voxels]).astype(np.int32))
    return np.concatenate(found)


@lru_cache(maxsize=_OPEN)
def _opened(folder: Path) -> WholeCase:
    with refusing_damage(folder, required="an intact resampled volume", fix="remove it: it is made again"):
        image = np.load(folder / _IMAGE, mmap_mode="r", allow_pickle=False)
        if not (folder / _MASK).is_file():
            return WholeCase(image, None, np.zeros((0, 4), dtype=np.int32), (0,))
        mask = np.load(folder / _MASK, mmap_mode="r", allow_pickle=False)
        places = np.load(folder / _PLACE, allow_pickle=False)
    firsts = np.flatnonzero(np.diff(places[:, 0], prepend=-1)).tolist()
    return WholeCase(image, mask, places, (*firsts, len(places)))
