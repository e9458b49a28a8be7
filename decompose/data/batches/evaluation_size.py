"""Images per batch of an evaluation, also where an engine answers and torch is not needed."""

from __future__ import annotations

import math

_MOST, _PIXELS = 256, 2**20


def eval_batch_size(spatial: tuple[int, ...]) -> int:
    """Return the number of images per batch without gradients: up to 256, fewer for large images."""
    return max(1, min(_MOST, _PIXELS // math.prod(spatial)))
