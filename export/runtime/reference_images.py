"""Images to compare networks on: real ones, drawn phantoms, or seeded patterns.

Shapes: N images, C channels, further axes are space.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from lorkit.decompose.artifacts.arrays import Bits, Float32Array, Ints, Mask
from lorkit.decompose.documents.heads import REGION
from lorkit.decompose.documents.verify import ImageKind
from lorkit.export.targets.base import Inputs

KINDS: tuple[ImageKind, ...] = ("real", "phantom", "seeded")


@dataclass(frozen=True, kw_only=True)
class ReferenceImages:
    """Images to run networks on.

    Attributes:
        images: (N, C, *spatial).
        kind: "real", "phantom" or "seeded".
        masks: (N, *spatial) true masks of either kind; None without any.
        labels: (N,) index of each image's class, for a classifier; None if unknown.
        region_N: Index of each image's region, for networks of several; None for those of one.
    """

    images: Float32Array = field(repr=False)
    kind: ImageKind
    masks: Mask | Bits | None = None
    labels: Ints | None = None
    region_N: Ints | None = None

    def first(self, count: int) -> ReferenceImages:
        """Return the first images."""
        return ReferenceImages(
            images=self.images[:count],
            kind=self.kind,
            masks=None if self.masks is None else self.masks[:count],
            labels=None if self.labels is None else self.labels[:count],
            region_N=None if self.region_N is None else self.region_N[:count],
        )

    def given(self, names: Sequence[str]) -> Inputs:
        """Return the inputs of a network by their names, of which the images have the first."""
        regions = {REGION: self.region_N} if REGION in names and self.region_N is not None else {}
        return {names[0]: self.images} | regions


def mixed(parts: Sequence[ReferenceImages]) -> ReferenceImages:
    """Return the images of several regions, one of each in turn, with the index of each image's region.

    The kind is the least real one. Masks and labels are those of one region, and are left out.
    """
    region_N = np.concatenate([np.full(len(part.images), index) for index, part in enumerate(parts)])
    turn_N = np.concatenate([np.arange(len(part.images)) for part in parts])
    order_N = np.lexsort((region_N, turn_N))
    images = np.concatenate([part.images for part in parts])[order_N]
    kind = max((part.kind for part in parts), key=KINDS.index)
    return ReferenceImages(images=images, kind=kind, region_N=region_N[order_N].astype(np.int64))


def seeded_inputs(shape: Sequence[int], count: int, *, seed: int = 0) -> Float32Array:
    """Return (count, *shape) random float32 in [0, 1], for when images cannot be read or stored.

    A coarse pattern with fine noise, so that deep layers get structure and not an average.
    """
    generator = np.random.default_rng(seed)
    channels, *spatial = shape
    coarse = generator.random((count, channels, *(-(-side // 8) for side in spatial)), dtype=np.float32)
    for axis, side in enumerate(spatial, start=2):
        coarse = np.repeat(coarse, 8, axis=axis).take(range(side), axis=axis)
    fine = generator.random((count, *shape), dtype=np.float32)
    return np.ascontiguousarray(0.75 * coarse + 0.25 * fine, dtype=np.float32)
