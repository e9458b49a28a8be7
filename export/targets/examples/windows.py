"""Sliding windows for the examples beside this script: a network of small blocks answers a whole volume.

Windows and weights are those of the recipe, so the logits are those of `decompose predict`, in plainer code that holds
the logits of the whole volume.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Run = Callable[[NDArray[np.float32]], NDArray[np.float32]]


def resampled_size(size: Sequence[int], spacing_mm: Sequence[float], recipe: dict[str, Any]) -> list[int]:
    """Return the sides of a volume at the spacing of the recipe."""
    wanted = recipe["steps"][1]["spacing"]
    return [
        max(1, round(side * float(own) / float(new))) for side, own, new in zip(size, spacing_mm, wanted, strict=True)
    ]


def blended_logits(run: Run, volume: NDArray[np.float32], recipe: dict[str, Any]) -> NDArray[np.float32]:
    """Return the logits (K, D, H, W) of a prepared volume (C, D, H, W), averaged over its windows.

    `run` maps windows (N, C, d, h, w) to logits.
    """
    step = recipe["steps"][2]
    size, sides = step["size"], volume.shape[1:]
    missing = [max(0, own - side) for own, side in zip(size, sides, strict=True)]
    padded = np.pad(volume, [(0, 0), *((one // 2, one - one // 2) for one in missing)])
    starts = [_starts(side, own, step["overlap"]) for side, own in zip(padded.shape[1:], size, strict=True)]
    weights = _weights(size, step["sigma"])
    sums = total = np.zeros(0, dtype=np.float32)
    for place in itertools.product(*starts):
        inside = tuple(slice(start, start + own) for start, own in zip(place, size, strict=True))
        logits = run(np.ascontiguousarray(padded[(slice(None), *inside)])[None])[0]
        if not sums.size:
            sums = np.zeros((len(logits), *padded.shape[1:]), dtype=np.float32)
            total = np.zeros(padded.shape[1:], dtype=np.float32)
        sums[(slice(None), *inside)] += logits * weights
        total[inside] += weights
    kept = tuple(slice(one // 2, one // 2 + side) for one, side in zip(missing, sides, strict=True))
    return (sums / total)[(slice(None), *kept)]


def _starts(side: int, window: int, overlap: float) -> list[int]:
    step = window if side == window else max(1, int(window * (1 - overlap)))
    return [min(index * step, side - window) for index in range(1 + math.ceil((side - window) / step))]


def _weights(size: Sequence[int], sigma: float) -> NDArray[np.float32]:
    weights = np.ones((), dtype=np.float32)
    for side in size:
        places = np.arange(side, dtype=np.float32) - np.float32((side - 1) / 2)
        weights = weights[..., None] * np.exp(places**2 / np.float32(-2 * (sigma * side) ** 2))
    return np.maximum(weights, np.float32(max(float(weights.min()), 1e-3)))
