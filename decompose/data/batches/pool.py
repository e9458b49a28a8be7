"""The training samples of a region: its labelled ones, and after them those without a label.

Shapes: N labelled and M unlabelled samples, P planes stored, `spatial` (H, W) or (D, H, W).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lorkit.decompose.artifacts.arrays import Float32Array
from lorkit.decompose.data.prepared import PreparedRegion
from lorkit.decompose.data.samples.label_table import UNCERTAIN
from lorkit.decompose.regions import RegionSet

Rows = NDArray[np.int64]


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

    def images(self, rows: Rows) -> Float32Array:
        """Return (n, P, *spatial) float32."""
        if self.unlabelled is None:
            return np.asarray(self.labelled.stored[rows])
        count, planes = len(self.labelled), self.planes
        found = np.empty((len(rows), planes, *self.labelled.stored.shape[2:]), dtype=np.float32)
        own = rows < count
        for part, chosen, first in ((self.labelled, own, 0), (self.unlabelled, ~own, count)):
            found[chosen] = part.stored[rows[chosen] - first]  # one plane fills all
        return found

    def targets(self, rows: Rows) -> Tensor:
        """Return int64 targets, (n,), (n, L) or (n, *spatial)."""
        found: NDArray[Any] = self.labelled.targets
        own = rows < len(self.labelled)
        if self.unlabelled is None or own.all():
            return torch.from_numpy(found[rows]).long()
        label = np.full((len(rows), *found.shape[1:]), UNCERTAIN, dtype=np.int64)
        label[own] = found[rows[own]]
        if self.labelled.masks is None:
            label[~own] = self.unlabelled.labels[rows[~own] - len(self.labelled)]
        return torch.from_numpy(label)

    @property
    def cached(self) -> PreparedRegion:
        """The labelled samples with the digests of all rows, as a cache of features needs them."""
        return replace(self.labelled, digests=self.digests)

    @property
    def _parts(self) -> list[PreparedRegion]:
        return [part for part in (self.labelled, self.unlabelled) if part is not None]


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
