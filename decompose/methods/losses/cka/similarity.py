"""CKA of two sets of features: views, gathering across ranks, products, cosine.

Shapes: B images, N samples (images or places, as the view says), P and Q features.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from lorkit.decompose.errors import DataError
from lorkit.decompose.methods.losses.cka.gather import gather_rows
from lorkit.decompose.methods.losses.cka.products import (
    MIN_SAMPLES,
    Estimator,
    ProductSpace,
    check_options,
    products,
    standardise,
)
from lorkit.decompose.methods.losses.cka.views import View, sample_matrices


class Similarity(NamedTuple):
    """The mean CKA, and how many of its problems (images of "patch-image", else one) have none and count as 0."""

    value: Tensor
    degenerate: Tensor


def cka(
    x: Tensor,
    y: Tensor,
    *,
    estimator: Estimator = "biased",
    view: View = "gap",
    space: ProductSpace = "auto",
    gather: bool = False,
) -> Tensor:
    """Return the centred kernel alignment of two networks' features of the same samples, a scalar.

    Computed in float32, or float64 where a side is that wide, whatever autocast says. Gradients go to both sides:
    detach the one that is a target. Features without variance have CKA 0 and a gradient of 0.

    "biased" lies in [0, 1] and tends to 1 for any features as soon as there are more of them than samples; it is a
    loss, not a measure. "unbiased" lies in [-1, 1] with mean 0 for independent features: report that.
    After Kornblith et al. 2019 and Song et al. 2012.

    Args:
        x: Features (B, C), (B, C, H, W), (B, C, D, H, W) or tokens (B, L, D), channels last.
        y: The same of the other network, of any of these forms and any width.
        estimator: "biased" (2 samples or more) or "unbiased" (U-centred, 4 or more).
        view: What a sample is; see `views.sample_matrices`.
        space: "gram", "feature", or "auto" for the cheaper one by shape.
        gather: Join the samples of all ranks of the default process group; batches may differ in size. With gradients
            averaged over ranks, as DDP does, parameters get those of one process with the joined batch.

    Raises:
        UsageError: No such estimator, view or space.
        DataError: Features that do not fit together, that are not finite, or too few samples.
    """
    check_options(estimator, space)
    pair = sides(x, y, view=view, gather=gather)
    if samples_of(pair) < MIN_SAMPLES[estimator]:
        raise DataError(
            f"{estimator} CKA of {samples_of(pair)} samples",
            required=f"{MIN_SAMPLES[estimator]} or more",
            fix='use larger batches, gather across ranks or choose view "token"',
        )
    return similarity(*pair, estimator=estimator, space=space).value


def sides(x: Tensor, y: Tensor, *, view: View, gather: bool) -> tuple[Tensor, Tensor]:
    """Return the sample matrices of both sides, of all ranks where `gather` is set."""
    with torch.autocast(x.device.type, enabled=False):
        matrices = sample_matrices(x, y, view)
        return (gather_rows(matrices[0]), gather_rows(matrices[1])) if gather else matrices


def samples_of(pair: tuple[Tensor, Tensor]) -> int:
    """Return how many samples a problem has; without any image there are none."""
    return pair[0].shape[-2] if pair[0].numel() else 0


def similarity(x: Tensor, y: Tensor, *, estimator: Estimator, space: ProductSpace) -> Similarity:
    """Return the mean CKA over problems of sample matrices (..., N, P) and (..., N, Q)."""
    with torch.autocast(x.device.type, enabled=False):
        found = products(*standardise(x, y), estimator=estimator, space=space)
        # chosen before the root: a root's slope at 0 is infinite, and 0 times infinity is NaN
        norm = torch.where(found.varies, found.xx * found.yy, 1).sqrt()
        value = torch.where(found.varies, found.xy, 0) / norm
        return Similarity(value.mean(), (~found.varies).sum())
