"""Random numbers by counter: a hash of what is drawn, for which sample and when, without a generator's state.

The same key gives the same number independent of earlier draws, machine and numpy version, so that resumed runs repeat
their augmentation and phantoms stay bit-identical. The hash is splitmix64's finaliser (Steele, Lea and Flood, "Fast
splittable pseudorandom number generators", OOPSLA 2014), which passes BigCrush on counters.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lorkit.decompose.artifacts.arrays import Float32Array

Keys = NDArray[np.uint64]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)


def keys(*parts: int | NDArray[Any]) -> Keys:
    """Hash integers or arrays, which broadcast, to keys of their broadcast shape (at least one element)."""
    mixed = np.zeros(1, dtype=np.uint64)
    for part in parts:
        mixed = mix(mixed + _GOLDEN + _as_words(part))
    return mixed


def mix(words: Keys) -> Keys:
    """Return splitmix64's finaliser of each word."""
    words = (words ^ (words >> np.uint64(30))) * _FIRST
    words = (words ^ (words >> np.uint64(27))) * _SECOND
    return words ^ (words >> np.uint64(31))


def uniform(key: Keys, draw: int, low: float = 0.0, high: float = 1.0) -> Float32Array:
    """Return float32 in [low, high), one per key; `draw` numbers the drawn quantity.

    The 24 upper bits fill a float32 exactly, so the result is the same everywhere.
    """
    words = mix(key + _GOLDEN * _as_words(draw + 1))
    unit = (words >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-24)
    return np.float32(low) + unit * np.float32(high - low)


def _as_words(part: int | NDArray[Any]) -> Keys:
    if isinstance(part, int):
        return np.array([part % 2**64], dtype=np.uint64)
    return part.astype(np.uint64)
