"""Inner products of centred similarity matrices, in gram or in feature space, at any scale of the features.

With K = X X' of centred features, <K, L> is (n - 1)^2 times the biased HSIC; with K's diagonal removed and the rest
U-centred (Song et al. 2012), it is n (n - 3) times the unbiased HSIC.

Shapes: N samples, P and Q features of the two sides; leading axes (...) are separate problems.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from lorkit.decompose.errors import DataError

Estimator = Literal["biased", "unbiased"]
ProductSpace = Literal["auto", "gram", "feature"]
MIN_SAMPLES: dict[str, int] = {"biased": 2, "unbiased": 4}
"""Minimum number of samples of an estimator."""
ULPS = 16
"""A column that varies by no more than this many units in the last place of its mean is constant."""
PASSES = 40
"""Cost of passes over a product, in multiply-accumulates per element; see benchmarks/cka.py."""


class Products(NamedTuple):
    """Inner products (...) of the two centred similarity matrices, and whether both exceed rounding errors."""

    xy: Tensor
    xx: Tensor
    yy: Tensor
    varies: Tensor


def standardise(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Centre both sides and divide each by its spread, so that squares sum to N, which does not change a cosine.

    Divisors are constants for autograd, which is exact because CKA does not depend on them. Gradients grow as 1 /
    spread, as those of CKA do: features of size 1e-12 have gradients of size 1e9 and need clipping.

    Args:
        x: Samples by features (..., N, P) in float32 or float64.
        y: The other side (..., N, Q).

    Raises:
        DataError: NaN or infinity.
    """
    reaches = [torch.linalg.vector_norm(side.detach(), torch.inf, dim=(-2, -1), keepdim=True) for side in (x, y)]
    # one synchronisation, not two
    if not torch.stack([reach.sum() for reach in reaches]).isfinite().all():
        raise DataError(
            f"CKA of features with NaN or infinity, in the {_culprits(reaches)}",
            required="finite numbers",
            fix="check the network's inputs and the learning rate, or use a wider precision",
        )
    return _standardised(x, reaches[0]), _standardised(y, reaches[1])


def products(x: Tensor, y: Tensor, *, estimator: Estimator, space: ProductSpace) -> Products:
    """Return the inner products of the two sides' centred similarity matrices.

    Args:
        x: Standardised rows (..., N, P).
        y: Standardised rows (..., N, Q).
        estimator: "biased", or "unbiased" with U-centred matrices.
        space: "gram" forms N x N, "feature" P x Q matrices; equal up to rounding. "auto" chooses the cheaper one.
    """
    if space == "auto":
        space = cheaper_space(x.shape[-2], x.shape[-1], y.shape[-1], (x.requires_grad, y.requires_grad))
    return _in_gram_space(x, y, estimator) if space == "gram" else _in_feature_space(x, y, estimator)


def cheaper_space(samples: int, p: int, q: int, graded: tuple[bool, bool] = (True, True)) -> Literal["gram", "feature"]:
    """Return the space in which a forward and a backward pass cost less.

    A matrix product is computed once in forward and once more for each operand with a gradient; each element of the
    result costs PASSES further multiply-accumulates.
    """
    x, y = (1 + 2 * wanted for wanted in graded)  # X X' has X twice
    gram = samples * samples * ((p + PASSES) * x + (q + PASSES) * y)
    feature = (samples + PASSES) * (p * p * x + q * q * y + p * q * (1 + sum(graded)))
    return "gram" if gram < feature else "feature"


def _standardised(x: Tensor, reach: Tensor) -> Tensor:
    limits, samples = torch.finfo(x.dtype), x.shape[-2]
    floor = limits.tiny**0.5  # squares of smaller values underflow
    x = x / reach.clamp_min(floor)
    mean = x.mean(-2, keepdim=True)
    centred = x - mean
    with torch.no_grad():
        length = torch.linalg.vector_norm(centred, dim=-2, keepdim=True)
        noise = ULPS * limits.eps * samples**0.5 * mean.abs()
        kept = (length > noise) & (reach > floor)
        spread = torch.linalg.vector_norm(length * kept, dim=-1, keepdim=True) / samples**0.5
        factor: Tensor = kept / spread.clamp_min(limits.tiny)
    return centred * factor


def _in_gram_space(x: Tensor, y: Tensor, estimator: Estimator) -> Products:
    k, l = x @ x.mT, y @ y.mT  # noqa: E741
    if estimator == "unbiased":
        k, l = _u_centred(k), _u_centred(l)  # noqa: E741
    k, l = k.flatten(-2), l.flatten(-2)  # noqa: E741
    xx, yy = torch.linalg.vecdot(k, k), torch.linalg.vecdot(l, l)
    noise = (ULPS * torch.finfo(x.dtype).eps * x.shape[-2]) ** 2
    return Products(torch.linalg.vecdot(k, l), xx, yy, (xx > noise) & (yy > noise))


def _u_centred(k: Tensor) -> Tensor:
    """Remove the diagonal and the means, so that rows sum to zero; rows of K sum to zero before, as X is centred.

    Entries are corrected before they are multiplied: with many features, the correction is larger than the result.
    """
    n, norm = k.shape[-1], k.diagonal(dim1=-2, dim2=-1)
    shift = (norm - norm.sum(-1, keepdim=True) / (2 * (n - 1))) / (n - 2)
    centred = k + shift.unsqueeze(-1) + shift.unsqueeze(-2)
    return torch.diagonal_scatter(centred, torch.zeros_like(norm), dim1=-2, dim2=-1)


def _in_feature_space(x: Tensor, y: Tensor, estimator: Estimator) -> Products:
    raw = [(left.mT @ right).square().sum((-2, -1)) for left, right in ((x, y), (x, x), (y, y))]
    eps = torch.finfo(x.dtype).eps
    noise = [(ULPS * eps) ** 2 * value for value in raw]
    if estimator == "unbiased":
        noise = [ULPS * eps * value for value in raw]  # differences of squares keep half of the digits
        n, k, l = x.shape[-2], x.square().sum(-1), y.square().sum(-1)  # noqa: E741
        pairs = ((k, l), (k, k), (l, l))
        raw = [value - _diagonal_part(a, b, n) for value, (a, b) in zip(raw, pairs, strict=True)]
    xy, xx, yy = raw
    return Products(xy, xx, yy, (xx > noise[1]) & (yy > noise[2]))


def _diagonal_part(k: Tensor, l: Tensor, n: int) -> Tensor:  # noqa: E741
    """Return the contribution of the diagonals k and l (..., N) of centred K and L to <K, L>."""
    inner: Tensor = torch.linalg.vecdot(k, l)
    return inner * (n / (n - 2)) - k.sum(-1) * l.sum(-1) / ((n - 1) * (n - 2))


def _culprits(reaches: list[Tensor]) -> str:
    sides = zip(("first", "second"), reaches, strict=True)
    return " and ".join(side for side, reach in sides if not reach.isfinite().all()) + " input"
