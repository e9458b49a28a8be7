"""Centred kernel alignment: how alike two representations of the same samples are, whatever their bases and sizes.

CKA(X, Y) is the cosine of the centred Gram matrices of X and Y. `biased` centres with H = I - 11^T / n (Kornblith et
al., 2019); `unbiased` centres the matrices without their diagonal (U-centring, Song et al., 2012), so that features of
few samples and many channels do not look alike by chance. Both are 1 for X and any c X Q + b, Q orthogonal.

Shapes: n samples, p and q channels, K = X X^T and L = Y Y^T (n, n).

Order of the arithmetic: float32 or wider, centre the features, set their size to 1, multiply, take the cosine. Centring
a Gram matrix instead loses every digit once the mean is 1,000 times the deviation; fp16 products overflow at size 8.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor, nn

from lorkit.decompose.errors import DataError, UsageError

Estimator = Literal["biased", "unbiased"]
Space = Literal["auto", "gram", "feature"]
View = Literal["gap", "flatten", "token", "patch-image"]

LEAST = {"biased": 2, "unbiased": 4}
"""Samples below which an estimator is undefined."""
_TINY = 1e-12


def cka(x: Tensor, y: Tensor, *, estimator: Estimator = "biased", space: Space = "auto") -> Tensor:
    """Return the alignment of two sets of features, a scalar in [0, 1] (unbiased: [-1, 1]).

    Features that do not vary (all samples equal) have no direction: the value is 0 and so is the gradient.

    Args:
        x: (n, p).
        y: (n, q), row i of the same sample.
        estimator: The biased value of few samples and many channels is near 1 whatever they hold.
        space: `gram` multiplies samples by samples, `feature` channels by channels; `auto` takes the cheaper.

    Raises:
        UsageError: Not two matrices of as many rows, or an unknown estimator or space.
        DataError: Fewer samples than the estimator needs, or features that are not finite.
    """
    _check(x, y, estimator, space)
    with torch.autocast(x.device.type, enabled=False):
        wide = torch.promote_types(torch.promote_types(x.dtype, y.dtype), torch.float32)
        x_np, y_nq = _unit(x.to(wide)), _unit(y.to(wide))
        if _space(x_np, y_nq, space) == "gram":
            return _cosine(*(_centred(one @ one.mT, estimator) for one in (x_np, y_nq)))
        cross, own_x, own_y = (_hsic(one, two, estimator) for one, two in ((x_np, y_nq), (x_np, x_np), (y_nq, y_nq)))
        return cross / (_root(own_x) * _root(own_y))


def hsic(x: Tensor, y: Tensor, *, estimator: Estimator = "unbiased") -> tuple[Tensor, Tensor, Tensor]:
    """Return the independence criteria of (X, Y), (X, X) and (Y, Y), as they are summed over batches.

    Biased: tr(K H L H) / (n - 1)^2. Unbiased: <A, B> / (n (n - 3)) with A, B U-centred.
    """
    _check(x, y, estimator, "auto")
    with torch.autocast(x.device.type, enabled=False):
        n, wide = len(x), torch.promote_types(torch.promote_types(x.dtype, y.dtype), torch.float32)
        features = [one.to(wide) - one.to(wide).mean(0) for one in (x, y)]
        a, b = (_centred(one @ one.mT, estimator) for one in features)
        scale = (n - 1) ** 2 if estimator == "biased" else n * (n - 3)
        return (a * b).sum() / scale, (a * a).sum() / scale, (b * b).sum() / scale


def viewed(x: Tensor, view: View) -> Tensor:
    """Return features as (n, p), with `patch-image` as (images, n, p).

    Args:
        x: (B, C), images (B, C, H, W), volumes (B, C, D, H, W), or tokens (B, L, C).
        view: `gap` averages positions; `flatten` takes all of them as channels; `token` takes every position as a
            sample; `patch-image` too, but image by image.

    Raises:
        UsageError: An unknown view, or a shape that has no positions to take.
    """
    if x.dim() == 2 and view in ("gap", "flatten"):
        return x
    if x.dim() not in (3, 4, 5) or view not in ("gap", "flatten", "token", "patch-image"):
        raise UsageError(
            f"view '{view}' of features of shape {tuple(x.shape)}",
            required="gap, flatten, token or patch-image of (B, C, *spatial) or (B, L, C); (B, C) has no positions",
            fix="choose another view",
        )
    if view == "flatten":
        return x.flatten(1)
    tokens_BLC = x if x.dim() == 3 else x.flatten(2).mT
    if view == "gap":
        return tokens_BLC.mean(1)
    return tokens_BLC.flatten(0, 1) if view == "token" else tokens_BLC


def compared(
    x: Tensor, y: Tensor, *, view: View = "gap", estimator: Estimator = "biased", space: Space = "auto"
) -> Tensor:
    """Return the alignment of two feature maps or vectors under a view; `patch-image` is the mean over images.

    Raises:
        UsageError: As `cka` and `viewed`; `token` and `patch-image` need one grid on both sides.
        DataError: As `cka`.
    """
    one, two = viewed(x, view), viewed(y, view)
    if view != "patch-image":
        return cka(one, two, estimator=estimator, space=space)
    if one.shape[:2] != two.shape[:2]:
        raise _unequal(x, y)
    pairs = zip(one, two, strict=True)
    return torch.stack([cka(left, right, estimator=estimator, space=space) for left, right in pairs]).mean()


class CKALoss(nn.Module):
    """Minus the alignment, for training; terms that cannot be computed are zero, and counted.

    Args:
        estimator: As `cka`. As a loss the unbiased one is noisy below 32 samples.
        view: As `viewed`.
        gather: Compute over the samples of all ranks, which must hold as many each.

    Attributes:
        skipped: Terms left out because the batch had too few samples (for patches: positions).
    """

    def __init__(self, *, estimator: Estimator = "biased", view: View = "gap", gather: bool = False) -> None:
        super().__init__()
        self.estimator: Estimator = estimator
        self.view: View = view
        self.gather = gather
        self.skipped = 0

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Return -CKA of features of the same samples, or a zero that is connected to both."""
        if self.gather:
            x, y = gathered(x), gathered(y)
        if viewed(x, self.view).shape[-2] < LEAST[self.estimator]:
            self.skipped += 1
            return 0.0 * (x.float().sum() + y.float().sum())
        return -compared(x, y, view=self.view, estimator=self.estimator)


class CKAMetric:
    """Alignment over many batches: the three unbiased criteria are summed, and divided once.

    The mean of the batches' own alignments is another, worse estimate.
    """

    def __init__(self) -> None:
        self.sums = torch.zeros(3, dtype=torch.float64)

    def update(self, x: Tensor, y: Tensor) -> None:
        """Add a batch of (n, p) and (n, q), n at least 4."""
        values = hsic(x.detach().double(), y.detach().double())
        self.sums += torch.stack(values).cpu()

    def compute(self) -> float:
        """Return the alignment of all batches.

        Raises:
            UsageError: There was none.
        """
        cross, own_x, own_y = self.sums.tolist()
        if own_x == own_y == 0.0:
            raise UsageError("alignment of no batch", required="one batch or more", fix="call update first")
        norm = (own_x * own_y) ** 0.5
        return cross / norm if norm else 0.0


def gathered(x: Tensor) -> Tensor:
    """Return the rows of all ranks, in rank order; gradients go back to the rank that each row came from.

    The sum of the ranks' gradients is that of the loss of one process with all rows times the number of ranks, which
    the mean over ranks (as DDP takes it) undoes.
    """
    if not dist.is_available() or not dist.is_initialized() or dist.get_world_size() == 1:
        return x
    sizes = [torch.zeros((), dtype=torch.int64, device=x.device) for _ in range(dist.get_world_size())]
    dist.all_gather(sizes, torch.tensor(len(x), device=x.device))
    if len({int(size) for size in sizes}) > 1:
        raise DataError(
            f"ranks with {', '.join(str(int(size)) for size in sizes)} samples",
            required="as many on every rank",
            fix="drop the last batch",
        )
    rows: Tensor = _Gathered.apply(x.contiguous())
    return rows


class _Gathered(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        parts = [torch.empty_like(x) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, x)
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].contiguous()
        dist.all_reduce(total)
        return total.chunk(dist.get_world_size())[dist.get_rank()]


def _check(x: Tensor, y: Tensor, estimator: str, space: str) -> None:
    if estimator not in LEAST or space not in ("auto", "gram", "feature"):
        raise UsageError(
            f"estimator '{estimator}', space '{space}'",
            required="biased or unbiased; auto, gram or feature",
            fix="correct the name",
        )
    if x.dim() != 2 or y.dim() != 2 or len(x) != len(y):
        raise _unequal(x, y)
    if len(x) < LEAST[estimator]:
        raise DataError(
            f"alignment of {len(x)} samples",
            required=f"{LEAST[estimator]} or more for the {estimator} estimator",
            fix="take larger batches",
        )
    if not bool(torch.isfinite(x.detach().sum() + y.detach().sum())) and not bool(
        x.detach().isfinite().all() & y.detach().isfinite().all()
    ):
        raise DataError("features that are not finite", required="finite features", fix="look at rate and precision")


def _unequal(x: Tensor, y: Tensor) -> UsageError:
    return UsageError(
        f"features of shapes {tuple(x.shape)} and {tuple(y.shape)}",
        required="as many samples (for token and patch-image: positions) on both sides",
        fix="choose the view gap, or bring both to one grid",
    )


def _unit(x: Tensor) -> Tensor:
    """Centre features and set their root mean square to 1: CKA does not depend on it, products of 1e10 overflow."""
    largest = x.detach().abs().amax().clamp_min(torch.finfo(x.dtype).tiny)
    x = x / largest  # the mean of features near the largest float is not finite otherwise
    x = x - x.mean(0)
    size = x.detach().square().mean().sqrt()
    # what rounding leaves of equal samples is no direction
    return torch.where(size > 8 * torch.finfo(x.dtype).eps, x / size.clamp_min(_TINY), torch.zeros_like(x))


def _centred(gram: Tensor, estimator: str) -> Tensor:
    n = len(gram)
    if estimator == "biased":
        return gram  # the features were centred
    hollow = gram - torch.diag(torch.diagonal(gram))
    row = hollow.sum(1)
    centred = hollow - (row[:, None] + row[None, :]) / (n - 2) + row.sum() / ((n - 1) * (n - 2))
    return centred - torch.diag(torch.diagonal(centred))


def _cosine(a: Tensor, b: Tensor) -> Tensor:
    norms = [torch.linalg.vector_norm(one).clamp_min(_TINY) for one in (a, b)]
    return (a * b).sum() / (norms[0] * norms[1])


def _hsic(x: Tensor, y: Tensor, estimator: str) -> Tensor:
    """Return <A, B> of centred features without a matrix of samples by samples."""
    biased = (x.mT @ y).square().sum()
    if estimator == "biased":
        return biased
    n = len(x)
    diagonals = [one.square().sum(1) for one in (x, y)]
    rows = [one @ one.sum(0) - diagonal for one, diagonal in zip((x, y), diagonals, strict=True)]
    hollow = biased - (diagonals[0] * diagonals[1]).sum()
    sums = [row.sum() for row in rows]
    return hollow + sums[0] * sums[1] / ((n - 1) * (n - 2)) - 2 * (rows[0] * rows[1]).sum() / (n - 2)


def _root(value: Tensor) -> Tensor:
    """Return the square root of an own criterion, with gradient 0 where it vanishes."""
    safe = torch.where(value > _TINY, value, torch.ones_like(value))
    return torch.where(value > _TINY, safe.sqrt(), torch.full_like(value, _TINY))


def _space(x: Tensor, y: Tensor, space: Space) -> Space:
    if space != "auto":
        return space
    n, p, q = len(x), x.shape[1], y.shape[1]
    return "gram" if n * n * (p + q) + 6 * n * n <= n * (p * q + p * p + q * q) else "feature"
