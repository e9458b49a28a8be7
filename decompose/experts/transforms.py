"""Whether derivatives are taken by other means than autograd's backward pass."""

from __future__ import annotations

import torch
from torch.autograd import forward_ad


def transformed() -> bool:
    """Return whether `torch.func` or forward-mode derivatives are at work.

    They do not see through autograd functions that state a backward alone: those give way to plain operations then,
    which have the same numbers and every derivative.
    """
    if torch.compiler.is_compiling():
        return False
    return torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0
