"""CKA of two sets of features as a loss: views, gathering across ranks, products, cosine.

After Kornblith et al. 2019 and Song et al. 2012.

Shapes: B images, N samples (images or positions, depending on the view), P and Q features.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from lorkit.decompose.methods.losses.cka.gather import gather_rows
from lorkit.decompose.methods.losses.cka.products import MIN_SAMPLES, Estimator, ProductSpace, products, standardise
from lorkit.decompose.methods.losses.cka.views import View, sample_matrices


class Similarity(NamedTuple):
    """The mean CKA, and the number of problems (images of "patch-image", else one) without CKA, which count as 0."""

    value: Tensor
    degenerate: Tensor


class CKALoss(nn.Module):
    """The loss -CKA.

    CKA determines neither the scale of features nor, if both sides are trained, that they span more than one direction,
    so combine it with a task loss. With fewer than 32 samples the unbiased loss has steep gradients: lower its weight.

    "biased" CKA is in [0, 1] and tends to 1 if there are more features than samples: use it as a loss, not as a
    measure. "unbiased" is in [-1, 1] with mean 0 for independent features: report this one.

    Args:
        estimator: "biased", the papers' form, or "unbiased" (U-centred).
        view: Definition of a sample; see `views.sample_matrices`.
        gather: Join the samples of all ranks of the default process group; batches may differ in size. With gradients
            averaged over ranks, as in DDP, they equal those of one process with the joined batch.

    Attributes:
        skipped: Batches with too few samples for the estimator; their loss is 0, with gradients of 0.
    """

    def __init__(self, *, estimator: Estimator = "biased", view: View = "gap", gather: bool = False) -> None:
        super().__init__()
        self.estimator: Estimator = estimator
        self.view: View = view
        self.gather = gather
        self.skipped = 0
        self._degenerate: Tensor | None = None

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the loss of two networks' features of the same samples, a scalar.

        Computed in float32, or float64 if a side is, also under autocast. Both sides have gradients: detach a target.
        Features without variance have CKA 0 and a gradient of 0.

        Args:
            x: Features (B, C), (B, C, H, W), (B, C, D, H, W) or tokens (B, L, D), channels last.
            y: The same of the other network, of any of these forms and any width.

        Raises:
            DataError: Features do not match or are not finite.
        """
        pair = sides(x, y, view=self.view, gather=self.gather)
        samples = pair[0].shape[-2] if pair[0].numel() else 0
        if samples < MIN_SAMPLES[self.estimator]:
            self.skipped += 1
            # sums of empty slices keep the graph, for DDP, without passing on NaN
            return pair[0][:0].sum() + pair[1][:0].sum()
        found = similarity(*pair, estimator=self.estimator)
        # stays on the device: reading it would synchronise
        self._degenerate = found.degenerate if self._degenerate is None else self._degenerate + found.degenerate
        return -found.value

    @property
    def degenerate(self) -> int:
        """Number of problems so far (batches, or images in view "patch-image") without variance, with similarity 0."""
        return 0 if self._degenerate is None else int(self._degenerate)


def sides(x: Tensor, y: Tensor, *, view: View, gather: bool) -> tuple[Tensor, Tensor]:
    """Return the sample matrices of both sides, of all ranks if `gather` is set."""
    with torch.autocast(x.device.type, enabled=False):
        matrices = sample_matrices(x, y, view)
        return (gather_rows(matrices[0]), gather_rows(matrices[1])) if gather else matrices


def similarity(x: Tensor, y: Tensor, *, estimator: Estimator, space: ProductSpace = "auto") -> Similarity:
    """Return the mean CKA over problems of sample matrices (..., N, P) and (..., N, Q)."""
    with torch.autocast(x.device.type, enabled=False):
        found = products(*standardise(x, y), estimator=estimator, space=space)
        # before the root, whose derivative at 0 is infinite: 0 times infinity is NaN
        norm = torch.where(found.varies, found.xx * found.yy, 1).sqrt()
        value = torch.where(found.varies, found.xy, 0) / norm
        return Similarity(value.mean(), (~found.varies).sum())
