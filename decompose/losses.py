"""Losses of decomposition and distillation, one value a sample, and their sums by region.

Shapes: N samples of a batch, F features, C classes of a region, n samples of one region.
Values are float32 or wider whatever the autocast precision: a softmax over hundreds of features loses its tail in bf16.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

Terms = dict[str, dict[str, Tensor]]


def softened_kl(student_NK: Tensor, teacher_NK: Tensor, temperature: float) -> Tensor:
    """Return T^2 * KL(softmax(teacher / T) || softmax(student / T)) of each row, shape (N,).

    The factor T^2 keeps the gradient's size when the temperature changes. On features this is LoRKD's
    feature loss (eq. of section 1 of the method), on logits it is classic knowledge distillation.
    """
    teacher = F.log_softmax(wide(teacher_NK) / temperature, dim=1)
    student = F.log_softmax(wide(student_NK) / temperature, dim=1)
    return F.kl_div(student, teacher, reduction="none", log_target=True).sum(1) * temperature**2


def cross_entropy(logit_nC: Tensor, label_n: Tensor, smoothing: float = 0.0) -> Tensor:
    """Return the cross-entropy of each sample, shape (n,)."""
    return F.cross_entropy(wide(logit_nC), label_n, reduction="none", label_smoothing=smoothing)


def by_region(value_N: Tensor, rows: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Sum per-sample values over the samples of each region, divided by the size of the whole batch.

    The sum over regions is then the mean over the batch. Ranks hold batches of one size, so the mean of their
    gradients is the gradient of the mean over all samples of all ranks: counts are global without communication.

    Args:
        value_N: One value a sample.
        rows: Positions of each present region's samples in the batch.
    """
    return {name: value_N.index_select(0, row).sum() / len(value_N) for name, row in rows.items()}


def total(terms: Terms) -> Tensor:
    """Add up every term of every region."""
    return torch.stack([value for regions in terms.values() for value in regions.values()]).sum()


def wide(values: Tensor) -> Tensor:
    """Return values in float32, or as they are where they are wider."""
    return values.to(torch.promote_types(values.dtype, torch.float32))
