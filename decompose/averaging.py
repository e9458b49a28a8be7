"""Exponential moving averages of the weights: what is validated and kept where `train.ema` is set."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import PARAM_LIST, AveragedModel, get_ema_multi_avg_fn


def average_of(module: nn.Module, decay: float) -> AveragedModel:
    """Return a copy of a module that follows it: w_ema <- decay w_ema + (1 - decay) w after every step.

    The first update copies. Running statistics are averaged as the weights are, because they belong to them; whole
    numbers (counters, tables of indices) are copied, since a mean of them means nothing.

    Args:
        module: With its experts, on its device, before compilation.
        decay: In (0, 1); 0.999 looks back over about a thousand steps.
    """
    follow = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]

    def update(averages: PARAM_LIST, values: PARAM_LIST, count: Tensor | int) -> None:
        if averages[0].is_floating_point() or averages[0].is_complex():
            follow(averages, values, count)
        else:
            for average, value in zip(averages, values, strict=True):
                average.copy_(value)

    average = AveragedModel(module, multi_avg_fn=torch.no_grad()(update), use_buffers=True)
    average.requires_grad_(False)
    return average.eval()
