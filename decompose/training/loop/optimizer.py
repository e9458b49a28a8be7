"""The optimiser and its learning rate, as functions of the settings and the step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import PARAM_LIST, AveragedModel, get_ema_multi_avg_fn

from lorkit.decompose.config import TrainConfig
from lorkit.decompose.training.loop.packed_adamw import PackedAdamW, in_order_of


def build_optimizer(groups: Sequence[dict[str, Any]], settings: TrainConfig) -> torch.optim.Optimizer:
    """Return SGD with momentum or AdamW over the groups with parameters.

    A group may have `lr_ratio`, its rate relative to that of the settings. The fused kernels take a third of the time
    or less on a CPU.
    """
    filled = [group for group in groups if group["params"]]
    if settings.optimizer == "adamw":
        return PackedAdamW(filled, lr=settings.lr)
    optimizer = torch.optim.SGD(filled, lr=settings.lr, momentum=settings.momentum, fused=True)
    optimizer.register_step_pre_hook(_match_layouts)
    if settings.momentum:
        # torch's fused SGD cannot update parameters without momentum together with others that have it,
        # such as those of a region absent from the first batches; a buffer of zeros gives the same first step
        for group in filled:
            for parameter in group["params"]:
                optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    return optimizer


def learning_rate(settings: TrainConfig, step: int, steps: int) -> float:
    """Return the rate of a step: linear warm-up, then a cosine to zero over the whole budget, or constant.

    Args:
        settings: Rate, schedule and epochs.
        step: Step of the whole training, from 0.
        steps: Steps per epoch.
    """
    warm = settings.warmup_epochs * steps
    if step < warm:
        return settings.lr * (step + 1) / (warm + 1)
    if settings.schedule == "constant":
        return settings.lr
    share = (step - warm) / max(1.0, settings.epochs * steps - warm)
    return settings.lr * 0.5 * (1 + math.cos(math.pi * min(1.0, share)))


def least_steps(settings: TrainConfig) -> int:
    """Return the fewest steps of an epoch, so that the training has `train.min_steps`."""
    return max(1, math.ceil((settings.min_steps or 0) / settings.epochs))


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the rate of a step, multiplied by `lr_ratio` in groups that have it."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get("lr_ratio", 1.0)


def _match_layouts(optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
    """Give every gradient the memory layout of its parameter.

    torch's fused kernels on the CPU (2.13) iterate over both in memory order, and would silently combine a
    channels-last and a plain layout in the wrong order.
    """
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if parameter.grad is not None:
                parameter.grad = in_order_of(parameter, parameter.grad)


def average_of(module: nn.Module, decay: float) -> AveragedModel:
    """Return a copy of a module that averages it: w_ema <- decay w_ema + (1 - decay) w after every step.

    The first update copies. Running statistics are averaged like the weights; whole numbers (counters, tables of
    indices) are copied.

    Args:
        module: With its experts, on its device, before compilation.
        decay: In (0, 1); 0.999 averages over about a thousand steps.
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
