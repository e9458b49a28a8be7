"""Batch norms that must stay shared: those whose statistics by region would be of too few values.

On a grid of one position, a region with two samples in a batch has two values per channel: their variance is mostly
noise, which training then learns. A statistic needs at least `LEAST_VALUES` of them.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from lorkit.decompose.experts.forecast import on_meta
from lorkit.decompose.experts.norms.region_norm import NORMS
from lorkit.decompose.experts.strategies.geometry import Sizes

LEAST_VALUES = 16


def scarce_norms(network: nn.Module, image_shape: Sizes, samples: int) -> dict[str, int]:
    """Return the batch norms with fewer than `LEAST_VALUES` values per channel and region, and how many they have.

    Args:
        network: A plain network; nothing is computed or changed.
        image_shape: (C, *spatial) of one image.
        samples: Fewest samples of a region in a batch.
    """
    copied = on_meta(network)
    values: dict[str, int] = {}

    def note(name: str, norm: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        positions = arguments[0].numel() // arguments[0].shape[1]
        values[name] = min(values.get(name, LEAST_VALUES), positions * samples)

    for name, module in copied.named_modules():
        if isinstance(module, NORMS):
            module.register_forward_pre_hook(partial(note, name))
    with torch.no_grad():
        copied(torch.empty(1, *image_shape, device="meta"))
    return {name: count for name, count in values.items() if count < LEAST_VALUES}
