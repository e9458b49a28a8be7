"""Random operations on training images, after RandAugment (Cubuk et al., NeurIPS 2020), chosen for medical images.

Each image gets N operations, drawn with replacement, each with a strength in [-1, 1] times the magnitude. Rotation,
scale and shift join the other changes of geometry, so that an image is resampled once; masks follow them. None mirrors,
shears, inverts or cuts: sides, angles and the order of intensities carry meaning. Intensity operations leave masks.

Shapes: N samples, P planes, `spatial` (H, W) or (D, H, W).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from lorkit.decompose.artifacts.arrays import Float32Array
from lorkit.decompose.config.training import RandomConfig
from lorkit.decompose.data.random_numbers import Keys, keys, uniform

_ROTATE, _SCALE, _SHIFT, _GAMMA, _CONTRAST, _BRIGHTNESS, _NOISE, _SHARPNESS = range(8)
OPERATIONS = 8
# at magnitude 1: degrees, logarithm of the factor, and fraction of the side
_DEGREES, _LOG_SCALE, _SIDE = 30.0, 0.25, 0.2
# logarithm of the exponent and of the gain, and shares of the range of intensities
_LOG_GAMMA, _LOG_GAIN, _OFFSET, _DEVIATION = 0.7, 0.7, 0.25, 0.1
_FIRST, _DRAWS = 16, 8  # numbers of draws: the first one, and how many an operation has
_UNIFORMS = 4  # their sum is close to normal, and the same on every machine


class Geometry(NamedTuple):
    """Sums of the drawn changes of geometry, each (N,): radians, logarithm of the scale, and fractions of the sides."""

    angle: Float32Array
    log_scale: Float32Array
    shifts: tuple[Float32Array, Float32Array, Float32Array]


def draw_geometry(key: Keys, config: RandomConfig) -> Geometry:
    """Return what the operations of each sample add to its rotation, scale and shift (x, y, z)."""
    angle, log_scale = np.zeros(len(key), dtype=np.float32), np.zeros(len(key), dtype=np.float32)
    shifts = [np.zeros(len(key), dtype=np.float32) for _ in range(3)]
    for slot in range(config.operations):
        chosen = _operation(key, slot)
        strength = _strength(key, slot, config)
        angle += (chosen == _ROTATE) * strength * np.float32(np.radians(_DEGREES))
        log_scale += (chosen == _SCALE) * strength * np.float32(_LOG_SCALE)
        for axis, shift in enumerate(shifts):
            shift += (chosen == _SHIFT) * _strength(key, slot, config, axis) * np.float32(_SIDE)
    return Geometry(angle, log_scale, (shifts[0], shifts[1], shifts[2]))


def change_intensities(image: Tensor, key: Keys, config: RandomConfig, like: tuple[int, ...]) -> Tensor:
    """Return images after their drawn intensity operations, in the order of the draws.

    Args:
        image: (N, P, *spatial) float32 in [0, 1].
        key: (N,) keys of the samples' draws.
        config: Number and magnitude of the operations.
        like: Spatial size in whose pixels noise and sharpness are meant.

    Returns:
        (N, P, *spatial) float32 in [0, 1].
    """
    image = image.clone()
    for slot in range(config.operations):
        chosen, strength = _operation(key, slot), _strength(key, slot, config)
        for operation in range(_GAMMA, OPERATIONS):
            rows = np.flatnonzero(chosen == operation)
            if rows.size:
                at = torch.from_numpy(rows)
                column = torch.from_numpy(strength[rows]).view(-1, *(1,) * (image.dim() - 1))
                changed = _changed(image[at], operation, column, keys(key[rows], slot), like)
                image[at] = changed.clamp(0.0, 1.0)
    return image


def _operation(key: Keys, slot: int) -> NDArray[np.int64]:
    return (uniform(key, _FIRST + _DRAWS * slot) * OPERATIONS).astype(np.int64)


def _strength(key: Keys, slot: int, config: RandomConfig, part: int = 0) -> Float32Array:
    drawn = uniform(key, _FIRST + _DRAWS * slot + 1 + part, -1.0, 1.0)
    return (drawn * np.float32(config.magnitude)).astype(np.float32)


def _changed(image: Tensor, operation: int, strength: Tensor, key: Keys, like: tuple[int, ...]) -> Tensor:
    """Return images (n, P, *spatial) after one operation of strengths (n, 1, ...), not yet in [0, 1]."""
    if operation == _GAMMA:
        return image.pow((strength * _LOG_GAMMA).exp())
    if operation == _CONTRAST:
        mean = image.flatten(1).mean(1).view_as(strength)
        return (image - mean) * (strength * _LOG_GAIN).exp() + mean
    if operation == _BRIGHTNESS:
        return image + strength * _OFFSET
    if operation == _NOISE:
        return image + strength * _DEVIATION * _noise(key, image, like)
    return image + strength * (_smoothed(image, like) - image)  # below zero it sharpens


def _noise(key: Keys, image: Tensor, like: tuple[int, ...]) -> Tensor:
    """Return noise (n, P, *spatial) of mean 0 and variance 1 that is independent in each pixel of size `like`."""
    places = np.arange(image.shape[1] * int(np.prod(like)))
    pixel = keys(key[:, None], places[None])
    total = sum(uniform(pixel, draw, -0.5, 0.5) for draw in range(_UNIFORMS))
    values = torch.from_numpy(np.asarray(total, dtype=np.float32)).view(len(key), image.shape[1], *like)
    values = values * (12 / _UNIFORMS) ** 0.5  # the variance of each is 1/12
    return values if tuple(image.shape[2:]) == like else F.interpolate(values, image.shape[2:], mode="nearest-exact")


def _smoothed(image: Tensor, like: tuple[int, ...]) -> Tensor:
    """Return the means over 3 pixels of size `like` along each axis."""
    widths = [2 * round(side / own) + 1 for side, own in zip(image.shape[2:], like, strict=True)]
    pool = F.avg_pool2d if image.dim() == 4 else F.avg_pool3d
    return pool(image, widths, 1, [width // 2 for width in widths], count_include_pad=False)
