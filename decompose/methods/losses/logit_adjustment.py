"""Logit-adjusted cross-entropy (Menon et al., ICLR 2021, eq. 10): rare classes count as much as frequent ones.

Shapes: n samples of a region, C classes.

    loss(z, y) = -log( exp(z_y + tau log p_y) / sum_c exp(z_c + tau log p_c) )

p are the shares of the classes in the region's training part. The network learns z without the shares, so that its
most probable class has the least balanced error for tau 1. Evaluation and deployment use z as it is.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from lorkit.decompose.config import TrainConfig
from lorkit.decompose.errors import UsageError
from lorkit.decompose.regions import Region
from lorkit.decompose.tasks import get_task


def logit_shift(labels: ArrayLike, classes: int, tau: float) -> Tensor:
    """Return tau log p of each class, (C,) float32, from the labels (n,) of a training part.

    Negative labels are unknown. A class without a sample counts as if it had one, so that its logit stays finite.
    """
    label_n = np.asarray(labels)
    count_C = np.maximum(1, np.bincount(label_n[label_n >= 0], minlength=classes))
    return torch.from_numpy(tau * np.log(count_C / count_C.sum())).float()


def is_adjusted(region: Region) -> bool:
    """Return whether a region has one class a sample, as the loss needs: classification and nodes."""
    task = get_task(region.task)
    return task.exclusive and not task.dense


def check_adjustment(train: TrainConfig, regions: Iterable[Region]) -> None:
    """Raise UsageError for `train.logit_adjustment` if it would change the loss of no region."""
    known = list(regions)
    if train.logit_adjustment is None or any(map(is_adjusted, known)):
        return
    tasks = ", ".join(dict.fromkeys(region.task for region in known))
    raise UsageError(
        f"train.logit_adjustment for regions of task {tasks} alone",
        required="a region whose samples have one class each (classification, node)",
        fix="leave it out; pos_weight of a multilabel region balances its labels",
    )


def adjustment_notices(train: TrainConfig, regions: Iterable[Region]) -> list[str]:
    """Return a sentence on each region whose loss `train.logit_adjustment` does not change."""
    if train.logit_adjustment is None:
        return []
    return [
        f"region '{region.name}' of task {region.task}: train.logit_adjustment has no effect"
        for region in regions
        if not is_adjusted(region)
    ]
