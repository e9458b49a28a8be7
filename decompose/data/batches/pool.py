"""The training samples of a region: its labelled ones, and after them those without a label.

Shapes: N labelled and M unlabelled samples, P planes stored, `spatial` (H, W) or (D, H, W).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lorkit.decompose.artifacts.arrays import Float32Array
from lorkit.decompose.data.prepared import PreparedRegion
from lorkit.decompose.data.random_numbers import Keys
from lorkit.decompose.data.samples.label_table import UNCERTAIN
from lorkit.decompose.regions import RegionSet

Rows = NDArray[np.int64]
Windows = Sequence[tuple[int, ...]]
"""Start of a window of each case."""


@dataclass(frozen=True, kw_only=True, eq=False)
class SamplePool:
    """Rows 0 to N - 1 are labelled samples, rows N to N + M - 1 unlabelled ones, whose targets are -1.

    Attributes:
        labelled: N samples.
        unlabelled: M samples of the same region and size; their labels are -1 or pseudo-labels. None for none.
    """

    labelled: PreparedRegion
    unlabelled: PreparedRegion | None = None

    @property
    def planes(self) -> int:
        """P of the gathered images."""
        return max(int(part.stored.shape[1]) for part in self._parts)

    @property
    def digests(self) -> tuple[str, ...]:
        """The digests of the images of all rows."""
        return tuple(digest for part in self._parts for digest in part.digests)

    @property
    def windowed(self) -> bool:
        """Whether samples are windows of whole cases, which are drawn anew in each pass."""
        return self.labelled.volumes is not None

    def windows(self, rows: Rows, keys: Keys, foreground: float) -> Windows:
        """Draw a window of each case; see `PreparedVolumes.starts`.

        Args:
            rows: (n,) rows.
            keys: (n,) keys of their draws.
            foreground: Probability of a window around a voxel of a structure, where one is labelled.
        """
        found: list[tuple[int, ...]] = [()] * len(rows)
        for part, own, first in self._split(rows):
            assert part.volumes is not None
            starts = part.volumes.starts(rows[own] - first, keys[own], foreground)
            for at, start in zip(np.flatnonzero(own).tolist(), starts, strict=True):
                found[at] = start
        return found

    def images(self, rows: Rows, windows: Windows | None = None) -> Float32Array:
        """Return (n, P, *spatial) float32, of whole cases the windows that start at `windows`."""
        if self.unlabelled is None and windows is None:
            return np.asarray(self.labelled.stored[rows])
        found = np.empty((len(rows), self.planes, *self.labelled.stored.shape[2:]), dtype=np.float32)
        for part, chosen, first in self._split(rows):
            own = rows[chosen] - first
            if part.volumes is None or windows is None:
                found[chosen] = part.stored[own]  # one plane fills all
            else:
                found[chosen] = part.volumes.images(own, _taken(windows, chosen))
        return found

    def targets(self, rows: Rows, windows: Windows | None = None) -> Tensor:
        """Return int64 targets, (n,), (n, L) or (n, *spatial), of whole cases those of windows."""
        found: NDArray[Any] = self.labelled.targets
        own = rows < len(self.labelled)
        if windows is not None and self.labelled.volumes is not None:
            known: NDArray[Any] = self.labelled.volumes.masks(rows[own], _taken(windows, own))
        else:
            known = found[rows[own]]
        if self.unlabelled is None or own.all():
            return torch.from_numpy(known.astype(np.int64))
        label = np.full((len(rows), *found.shape[1:]), UNCERTAIN, dtype=np.int64)
        label[own] = known
        if self.labelled.masks is None:
            label[~own] = self.unlabelled.labels[rows[~own] - len(self.labelled)]
        return torch.from_numpy(label)

    @property
    def cached(self) -> PreparedRegion:
        """The labelled samples with the digests of all rows, as a cache of features needs them."""
        return replace(self.labelled, digests=self.digests)

    def _split(self, rows: Rows) -> list[tuple[PreparedRegion, NDArray[np.bool_], int]]:
        """Return the two parts, which rows are of each, and the first row of each."""
        own = rows < len(self.labelled)
        parts = [(self.labelled, own, 0)]
        if self.unlabelled is not None:
            parts.append((self.unlabelled, ~own, len(self.labelled)))
        return parts

    @property
    def _parts(self) -> list[PreparedRegion]:
        return [part for part in (self.labelled, self.unlabelled) if part is not None]


def _taken(windows: Windows, chosen: NDArray[np.bool_]) -> Windows:
    return [windows[at] for at in np.flatnonzero(chosen).tolist()]


def label_weights(label: Tensor) -> Tensor:
    """Return the weights of samples' own losses, (n,): 0 without a label, else n over the number of labelled ones.

    The loss of a region then has the same weight in the batch's as if all of its samples had labels.

    Args:
        label: Targets of the samples of one region, -1 where a target is unknown.
    """
    known = (label != UNCERTAIN).flatten(1).any(1) if label.dim() > 1 else label != UNCERTAIN
    return known * (len(label) / known.sum().clamp_min(1))


def pools_of(
    prepared: Mapping[str, PreparedRegion], unlabelled: Mapping[str, PreparedRegion] | None, regions: RegionSet
) -> dict[str, SamplePool]:
    """Return the training samples of each region, with its unlabelled ones, if any."""
    others = unlabelled or {}
    return {name: SamplePool(labelled=prepared[name], unlabelled=others.get(name)) for name in regions.names}
