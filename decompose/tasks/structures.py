"""Structures that may overlap: each of a region's structures is there or not in each pixel.

Shape legend: N samples, n of one region in a batch, S structures, which are the channels; there is no background. In
targets bit s - 1 says whether structure s is there; see `artifacts.masks`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from lorkit.decompose.artifacts.arrays import IGNORED_BIT, Bits, Float32Array
from lorkit.decompose.regions import Region
from lorkit.decompose.tasks.base import CERTAIN, ScoreInputs
from lorkit.decompose.tasks.segmentation import Segmentation

if TYPE_CHECKING:
    from torch import Tensor


class Structures(Segmentation):
    """Structures that may overlap, decoded by the sign of each structure's logit. Scores are those of segmentation."""

    name = "structures"
    exclusive = False

    def outputs(self, region: Region) -> int:
        """Return the number of structures."""
        return len(region.classes)

    def loss(self, logits: Tensor, target: Tensor, smoothing: float = 0.0, pos_weight: Tensor | None = None) -> Tensor:
        """Return the Dice loss plus the mean binary cross-entropy of each sample, (n,).

        Dice is of the sigmoids, the mean over structures; cross-entropy is the mean over structures and pixels. Ignored
        pixels count in neither.

        Args:
            logits: (n, S, *spatial).
            target: (n, *spatial) int64, one bit per structure.
            smoothing: Targets of the cross-entropy are s / 2 and 1 - s / 2.
            pos_weight: None: regions with masks have none.
        """
        import torch

        from lorkit.decompose.tasks.losses import masked_binary_cross_entropy, overlapping_dice_loss

        places = torch.arange(logits.shape[1], device=target.device).view(-1, *(1,) * (target.dim() - 1))
        there = (target[:, None] >> places) & 1
        known = (target & IGNORED_BIT == 0)[:, None].expand_as(there)
        wanted = there.where(known, there.new_tensor(-1)).flatten(1)  # as labels that are unknown
        entropy = masked_binary_cross_entropy(logits.flatten(1), wanted, smoothing)
        return overlapping_dice_loss(logits, there, known) + entropy

    def divergence(self, student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        """Return T^2 KL(teacher || student) of each sample, (n,), the mean over pixels and structures of yes and no."""
        from lorkit.decompose.tasks.losses import softened_binary_kl

        return softened_binary_kl(student.flatten(1), teacher.flatten(1), temperature)

    def score_inputs(self, outputs: ArrayLike, targets: ArrayLike) -> ScoreInputs:
        """Return (N, S, 3) counts of pixels on the network's grid; see `metrics.segmentation.overlap_counts`."""
        return super().score_inputs(outputs, _bits(targets))

    def wrong_outputs(self, region: Region, targets: ArrayLike, spatial: Sequence[int] = ()) -> Float32Array:
        """Return (N, S, *spatial) logits of empty masks."""
        shape = (len(np.asarray(targets)), self.outputs(region), *spatial)
        return np.full(shape, -CERTAIN, dtype=np.float32)


def _bits(targets: ArrayLike) -> Bits:
    return np.asarray(targets).astype(np.uint32, copy=False)  # a batch has them as int64
