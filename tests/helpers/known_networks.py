"""Tell whether two networks are one and the same: the same classes and functions with equal weights and settings."""

from __future__ import annotations

import hashlib
import io
import pickle
from collections.abc import Hashable
from types import FunctionType
from typing import Any

import torch
from torch import nn


class _Writer(pickle.Pickler):
    """Write tensors as digests of their values, and classes and functions as places in a list of the objects."""

    def __init__(self, stream: io.BytesIO) -> None:
        super().__init__(stream)
        self.code: list[Hashable] = []

    def persistent_id(self, thing: Any) -> Any:
        """Return what stands for an object, None for one that is written as it is."""
        if isinstance(thing, torch.Tensor):
            values = thing.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy()
            return str(thing.dtype), tuple(thing.shape), thing.stride(), hashlib.sha256(values.tobytes()).hexdigest()
        if isinstance(thing, type | FunctionType):
            self.code.append(thing)
            return len(self.code)
        return None


def identity(network: nn.Module) -> Hashable | None:
    """Return what only the same network has, also in another object; None if that cannot be told.

    Classes and functions count as the same only if they are the same objects, so that a class that a test defines or
    a function that it replaces is another one each time.
    """
    stream = io.BytesIO()
    writer = _Writer(stream)
    try:
        writer.dump(network)
    except Exception:  # whatever an attribute raises that cannot be written
        return None
    forwards = tuple((type(one), type(one).forward) for one in network.modules())
    return stream.getvalue(), tuple(writer.code), forwards
