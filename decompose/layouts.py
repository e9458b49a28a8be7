"""Memory layouts: channels last for pictures, whose convolutions are faster that way; volumes stay as they are."""

from __future__ import annotations

import itertools

import torch
from torch import nn


def memory_format(dims: int) -> torch.memory_format:
    """Return the layout of a batch by its number of axes: 4 for pictures, 5 for volumes."""
    return torch.channels_last if dims == 4 else torch.contiguous_format


def set_layout_(module: nn.Module) -> nn.Module:
    """Bring a network's weights to the layout of its batches, in place; one with kernels of volumes stays as it is."""
    if not any(value.dim() == 5 for value in itertools.chain(module.parameters(), module.buffers())):
        module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return module
