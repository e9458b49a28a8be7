"""Flips at test time: the mean of a network's outputs for an image and for its mirror image.

Shapes: N images, C channels, K outputs; `spatial` is (H, W), or (D, H, W) of volumes.

Images are mirrored left to right as in training (`data.batches.augmentation`): 2D images along their last axis, volumes
along their first (left to right in RAS axes). Maps of the mirror image are mirrored back. Logits are averaged, so
probabilities are geometric means, and thresholds and scores are applied to them as without flips.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from lorkit.decompose.artifacts.arrays import Float32Array
from lorkit.decompose.errors import UsageError

Run = Callable[[Float32Array], Float32Array]
"""A batch (N, C, *spatial) to logits (N, K) or (N, K, *spatial)."""


def mirror_axis(dims: int) -> int:
    """Return the axis along which a batch (N, C, *spatial) of `dims` spatial dimensions is mirrored."""
    return 2 if dims == 3 else 3


def with_mirrored(run: Run) -> Run:
    """Return a function to the mean of the logits of images and of their mirror images."""

    def both(batch: Float32Array) -> Float32Array:
        axis = mirror_axis(batch.ndim - 2)
        logits = np.asarray(run(batch), dtype=np.float32)
        mirrored = np.asarray(run(np.ascontiguousarray(np.flip(batch, axis))), dtype=np.float32)
        if mirrored.ndim == batch.ndim:
            mirrored = np.flip(mirrored, axis)
        return ((logits + mirrored) / 2).astype(np.float32)

    return both


def check_flips(region: str, sided: bool | None) -> None:
    """Raise UsageError for a region whose images must not be mirrored, or of which that is unknown (None)."""
    if sided is None:
        raise UsageError(
            f"--flips for region '{region}', whose network does not say whether sides matter",
            required="an expert that states it (`sided` in expert.json)",
            fix="extract it again with --force, export it again, or leave --flips out",
        )
    if sided:
        raise UsageError(
            f"--flips for region '{region}', where left and right differ",
            required="a region whose mirror images are images of the same classes",
            fix="leave --flips out: classes name a side, augment.flip is false, or it is a graph",
        )
