"""Relational losses between the samples of a batch, one value per batch: RKD, SP and DIST.

Shapes: N samples, F features of the student, G of the teacher, C classes. `y` is the teacher's side, a target.

Written from the papers' formulas: torchdistill needs torchvision and pycocotools and takes its inputs from hooks by
module path, and mmrazor, KD_Lib and mdistiller have had no release since 2023. The papers' code averages RKD over all
pairs and triples, including a sample with itself; here, as in the formulas, samples are distinct, so the result does
not depend on the batch size.

Everything is computed in float32 or wider, also under autocast: differences and products of features lose digits in
bf16. Scales are divided out first, so that features of any length give finite values and gradients.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor

from lorkit.decompose.tasks.losses import wide


def distance_loss(x_NF: Tensor, y_NG: Tensor) -> Tensor:
    """Return RKD's distance-wise loss: Huber between the distances of pairs, each side's in units of its mean.

    Park et al., Relational Knowledge Distillation (CVPR 2019), eq. 4 to 6. Invariant to translation, rotation and scale
    of a side. 0 below two samples.
    """
    with exact(x_NF):
        if len(x_NF) < 2:
            return _nothing(x_NF)
        pairs = [_relative(_lengths(_differences(even(side)))) for side in (x_NF, y_NG)]
        count = len(x_NF) * (len(x_NF) - 1)  # without distances of a sample to itself
        return F.smooth_l1_loss(pairs[0], pairs[1], reduction="sum") / count


def angle_loss(x_NF: Tensor, y_NG: Tensor) -> Tensor:
    """Return RKD's angle-wise loss: Huber between the cosines of the angles that triples of samples form.

    Park et al. 2019, eq. 7 to 9. Invariant to translation, rotation and scale of a side. 0 below three samples. Needs
    memory for N * N * (N + F + G) numbers.
    """
    with exact(x_NF):
        count = len(x_NF)
        if count < 3:
            return _nothing(x_NF)
        angles = []
        for side in (x_NF, y_NG):
            away = _differences(even(side))
            unit = away / _lengths(away, instead=1.0).unsqueeze(2)
            angles.append(unit @ unit.mT)
        one = torch.eye(count, dtype=torch.bool, device=x_NF.device)  # the angle of a sample with itself
        losses = F.smooth_l1_loss(angles[0], angles[1], reduction="none").masked_fill(one, 0.0)
        return losses.sum() / (count * (count - 1) * (count - 2))


def similarity_loss(x_NF: Tensor, y_NG: Tensor) -> Tensor:
    """Return SP's loss: the mean square difference of the Gram matrices, their rows of length 1.

    Tung and Mori, Similarity-Preserving Knowledge Distillation (ICCV 2019), eq. 1 to 4. Invariant to rotation and scale
    of a side, not to translation. 0 for one sample.
    """
    with exact(x_NF):
        evened = [even(side.flatten(1)) for side in (x_NF, y_NG)]
        left, right = (F.normalize(side @ side.mT, dim=1) for side in evened)
        return (left - right).square().mean()


def correlation_losses(
    x_NC: Tensor, y_NC: Tensor, temperature: float = 1.0, *, exclusive: bool = True
) -> tuple[Tensor, Tensor]:
    """Return DIST's two losses on logits: T^2 (1 - Pearson) of rows (`inter`) and of columns (`intra`), both means.

    Huang et al., Knowledge Distillation from A Stronger Teacher (NeurIPS 2022), eq. 7 to 10, on the probabilities at
    the temperature, with the factor T^2 of the authors' code. With two classes the correlation of a row is 1 or -1 and
    has no gradient: only `intra` is effective. Below two samples `intra` is 0. Labels that are not `exclusive` have a
    sigmoid each instead of one softmax.
    """
    with exact(x_NC):
        softened = [wide(side) / temperature for side in (x_NC, y_NC)]
        x, y = (F.softmax(side, dim=1) if exclusive else side.sigmoid() for side in softened)
        inter = temperature**2 * (1 - pearson(x, y)).mean()
        intra = temperature**2 * (1 - pearson(x.mT, y.mT)).mean() if len(x) > 1 else _nothing(x_NC)
        return inter, intra


def pearson(x: Tensor, y: Tensor) -> Tensor:
    """Return the correlation along the last axis, (...); 0 if a side is constant."""
    x, y = (side - side.mean(-1, keepdim=True) for side in (x, y))
    return F.cosine_similarity(x, y, dim=-1)


def _differences(x_NF: Tensor) -> Tensor:
    """Return (N, N, F): [j, i] is the difference from sample j to sample i."""
    return x_NF.unsqueeze(0) - x_NF.unsqueeze(1)


def _lengths(away_NNF: Tensor, *, instead: float = 0.0) -> Tensor:
    """Return (N, N) Euclidean lengths, and a constant for zero lengths, where a root has no derivative."""
    square = away_NNF.square().sum(2)
    apart = square > 0
    return torch.where(apart, torch.where(apart, square, 1.0).sqrt(), instead)


def _relative(lengths_NN: Tensor) -> Tensor:
    """Divide by the mean over pairs of distinct samples; all zero stays zero."""
    count = len(lengths_NN)
    mean = lengths_NN.sum() / (count * (count - 1))
    return lengths_NN / torch.where(mean > 0, mean, 1.0)


def even(x: Tensor) -> Tensor:
    """Scale by a constant so that the largest value is 1, for losses that do not depend on the scale."""
    x = wide(x)
    largest = x.detach().abs().amax()
    return x / torch.where(largest > 0, largest, 1.0)


def _nothing(x: Tensor) -> Tensor:
    """Return 0 with the graph of `x`, so that DDP finds all parameters used."""
    return wide(x)[:0].sum()


@contextmanager
def exact(x: Tensor) -> Iterator[None]:
    """Compute in the types of the tensors, also under autocast on the device of `x`."""
    with torch.autocast(x.device.type, enabled=False):
        yield
