"""Packed experts for the time of a training: the same parameters, their values side by side in memory (see `pack`)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from lorkit.decompose.experts.extraction import expert_layers
from lorkit.decompose.experts.layers import LowRankExperts


def pack_(model: nn.Module) -> list[str]:
    """Pack the factors of every layer that allows it, in place; return the names of those layers.

    Regions of different ranks keep their factors apart. Call it after the model was moved and its memory format set.
    """
    layers = expert_layers(model).items()
    return [name for name, layer in layers if isinstance(layer, LowRankExperts) and layer.pack_()]


def unpack_(model: nn.Module) -> None:
    """Undo `pack_`; values stay to the bit."""
    for layer in expert_layers(model).values():
        if isinstance(layer, LowRankExperts):
            layer.unpack_()


@contextmanager
def packed(model: nn.Module) -> Iterator[None]:
    """Pack experts inside the context; outside, a factor that is saved must not drag all others along."""
    pack_(model)
    try:
        yield
    finally:
        unpack_(model)
