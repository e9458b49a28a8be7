"""Losses of decomposition and distillation, one value per sample, and their sums by region.

Shapes: N samples of a batch, F features, C classes of a region, K channels of a map, n samples of one region; `spatial`
is empty unless the task is dense. Values are float32 or wider, also under autocast: a softmax over hundreds of features
loses its tail in bf16.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

Terms = dict[str, dict[str, Tensor]]
_SMOOTH = 1e-5


def softened_kl(student_NK: Tensor, teacher_NK: Tensor, temperature: float) -> Tensor:
    """Return T^2 * KL(softmax(teacher / T) || softmax(student / T)) of each row (N,) or pixel (N, *spatial).

    The factor T^2 keeps the size of the gradient independent of the temperature. On features this is the feature loss
    of LoRKD (Zhou et al. 2024), on logits it is classic knowledge distillation.
    """
    teacher = F.log_softmax(wide(teacher_NK) / temperature, dim=1)
    student = F.log_softmax(wide(student_NK) / temperature, dim=1)
    return F.kl_div(student, teacher, reduction="none", log_target=True).sum(1) * temperature**2


def cross_entropy(logit_nC: Tensor, label_n: Tensor, smoothing: float = 0.0, ignored: int = -100) -> Tensor:
    """Return the cross-entropy of each sample or pixel, 0 where the label is `ignored`.

    Shapes: (n, C, *spatial) and (n, *spatial) to (n, *spatial).
    """
    return F.cross_entropy(wide(logit_nC), label_n, reduction="none", label_smoothing=smoothing, ignore_index=ignored)


def masked_binary_cross_entropy(
    logit_nL: Tensor, label_nL: Tensor, smoothing: float = 0.0, pos_weight_L: Tensor | None = None
) -> Tensor:
    """Return the mean binary cross-entropy over the known labels of each sample, (n,); 0 if none is known.

    Args:
        logit_nL: (n, L).
        label_nL: (n, L) int64 of 1, 0 and -1 (unknown).
        smoothing: Label smoothing: targets are s / 2 and 1 - s / 2.
        pos_weight_L: (L,) factors of the loss of positive labels; None for 1.
    """
    logit_nL, known_nL = wide(logit_nL), label_nL >= 0
    target_nL = known_nL * label_nL.to(logit_nL.dtype) * (1.0 - smoothing) + smoothing / 2
    weight_L = None if pos_weight_L is None else pos_weight_L.to(logit_nL)
    loss_nL = F.binary_cross_entropy_with_logits(logit_nL, target_nL, reduction="none", pos_weight=weight_L)
    return (loss_nL * known_nL).sum(1) / known_nL.sum(1).clamp_min(1)


def softened_binary_kl(student_nL: Tensor, teacher_nL: Tensor, temperature: float) -> Tensor:
    """Return T^2 times the mean over labels of KL(sigmoid(teacher / T) || sigmoid(student / T)), (n,).

    Each label is a distribution of its own, over yes and no.
    """
    teacher, student = wide(teacher_nL) / temperature, wide(student_nL) / temperature
    yes, no = F.logsigmoid(teacher), F.logsigmoid(-teacher)
    value_nL = yes.exp() * (yes - F.logsigmoid(student)) + no.exp() * (no - F.logsigmoid(-student))
    return value_nL.mean(1) * temperature**2


def dice_loss(logit_nK: Tensor, mask_n: Tensor, counted_n: Tensor) -> Tensor:
    """Return 1 - Dice of the softmax, the mean over structures (channel 0, background, left out), of each sample.

    Args:
        logit_nK: (n, K, *spatial), K of 2 or more.
        mask_n: (n, *spatial) int64, below K where it counts.
        counted_n: (n, *spatial) bool, False where a pixel counts nowhere.

    Returns:
        (n,), float32 or wider: half precision is too coarse for sums over many pixels.
    """
    with torch.autocast(logit_nK.device.type, enabled=False):
        share_nK = wide(logit_nK).softmax(1) * counted_n[:, None]
        hot_nK = F.one_hot(mask_n * counted_n, logit_nK.shape[1]).movedim(-1, 1) * counted_n[:, None]
        return _dice_loss(share_nK, hot_nK, background=True)


def overlapping_dice_loss(logit_nS: Tensor, there_nS: Tensor, counted_nS: Tensor) -> Tensor:
    """Return 1 - Dice of the sigmoids, the mean over structures, of each sample, (n,); as `dice_loss`.

    Args:
        logit_nS: (n, S, *spatial).
        there_nS: (n, S, *spatial), 1 where a structure is, else 0.
        counted_nS: (n, S, *spatial) bool, False where a pixel counts nowhere.
    """
    with torch.autocast(logit_nS.device.type, enabled=False):
        return _dice_loss(wide(logit_nS).sigmoid() * counted_nS, there_nS * counted_nS, background=False)


def _dice_loss(share_nK: Tensor, hot_nK: Tensor, *, background: bool) -> Tensor:
    """Return 1 - Dice of each sample; `background` says that channel 0 is one, which is left out.

    As MONAI's `DiceLoss`, whose import takes seconds, with its terms against a division by zero.
    """
    first = 1 if background else 0
    share_nKv, hot_nKv = (value[:, first:].flatten(2) for value in (share_nK, hot_nK))
    both_nK, sizes_nK = (share_nKv * hot_nKv).sum(2), share_nKv.sum(2) + hot_nKv.sum(2)
    return (1 - (2 * both_nK + _SMOOTH) / (sizes_nK + _SMOOTH)).mean(1)


def by_region(value_N: Tensor, rows: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Sum values per sample over the samples of each region, divided by the size of the whole batch.

    The sum over regions is the mean over the batch. Ranks have batches of one size, so the mean of their gradients is
    the gradient of the mean over all samples of all ranks.

    Args:
        value_N: One value per sample.
        rows: Positions of each present region's samples in the batch.
    """
    return {name: value_N.index_select(0, row).sum() / len(value_N) for name, row in rows.items()}


def total(terms: Terms) -> Tensor:
    """Return the sum of every term of every region."""
    return torch.stack([value for regions in terms.values() for value in regions.values()]).sum()


def wide(values: Tensor) -> Tensor:
    """Return values in float32, or unchanged if they are wider."""
    return values.to(torch.promote_types(values.dtype, torch.float32))
