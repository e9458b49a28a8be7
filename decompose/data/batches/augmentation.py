"""Random changes of training images, vectorised over a batch and repeatable by counter.

Shapes: N samples, P planes, `spatial` (H, W) or (D, H, W).

The draws of a sample depend only on (seed, epoch, region, pass, sample), not on its batch, so resumed runs and runs
with other ranks augment equally.
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lorkit.decompose.artifacts.arrays import Float32Array
from lorkit.decompose.config import AugmentConfig
from lorkit.decompose.data.batches.random_operations import change_intensities, draw_geometry
from lorkit.decompose.data.prepared import PreparedRegion
from lorkit.decompose.data.random_numbers import Keys, uniform

_FLIP, _ROTATE, _SCALE, _SHIFT_X, _SHIFT_Y, _GAIN, _OFFSET, _MOVED, _SHIFT_Z = range(9)
_WORD = 2**16


def augment_of(prepared: PreparedRegion, train: AugmentConfig | None) -> AugmentConfig | None:
    """Return the augmentation of a region: that of training, with what the region states."""
    own = prepared.augment
    if train is None or own is False:
        return None
    if own is None:
        return train
    stated = {key: value for key, value in own if value is not None}
    return train.model_copy(update={**stated, "random": None} if own.random is False else stated)


def augment(image: Tensor, key: Keys, config: AugmentConfig, *, like: tuple[int, ...] | None = None) -> Tensor:
    """Mirror, rotate, scale and shift each image, then change its intensities.

    2D images are mirrored left to right. Volumes are mirrored along their first axis (left to right in RAS axes) and
    rotated in the plane of the first two (axial).

    Args:
        image: (N, P, *spatial) float32 in [0, 1].
        key: (N,) keys of the samples' draws.
        config: Range of each change; 0 or False disables it.
        like: Spatial size in whose pixels rotations, noise and sharpness are meant, if the images are the same at
            another size; by default their own.

    Returns:
        (N, P, *spatial) float32 in [0, 1]; pixels outside repeat the border.
    """
    image = _move(image, key, config, "bilinear", like)
    if config.random is not None:
        image = change_intensities(image, key, config.random, like or tuple(image.shape[2:]))
    if config.intensity:
        gain = _column(uniform(key, _GAIN, 1 - config.intensity, 1 + config.intensity), image)
        offset = _column(uniform(key, _OFFSET, -config.intensity / 2, config.intensity / 2), image)
        image = ((image - 0.5) * gain + (0.5 + offset)).clamp(0.0, 1.0)
    return image


def augment_mask(mask: Tensor, key: Keys, config: AugmentConfig) -> Tensor:
    """Transform masks (N, *spatial) as `augment` transforms the images of these keys, without mixing values.

    Any whole numbers below 2^32 are kept, as masks of structures that may overlap have them.
    """
    if int(mask.max()) < _WORD:
        return _move(mask[:, None].float(), key, config, "nearest")[:, 0].to(mask.dtype)
    words = torch.stack([mask % _WORD, mask // _WORD], dim=1)  # float32 has 24 bits
    low, high = _move(words.float(), key, config, "nearest").to(mask.dtype).unbind(1)
    return low + high * _WORD


def _move(image: Tensor, key: Keys, config: AugmentConfig, mode: str, like: tuple[int, ...] | None = None) -> Tensor:
    if config.shift or config.rotate or config.scale or config.random is not None:
        theta = affine(key, config, like or tuple(image.shape[2:]))
        grid = F.affine_grid(theta, list(image.shape), align_corners=False)
        return F.grid_sample(image, grid, mode=mode, padding_mode="border", align_corners=False)
    if config.flip:
        mirrored = _column(uniform(key, _FLIP), image) < 0.5
        return torch.where(mirrored, image.flip(2 if image.dim() == 5 else -1), image)
    return image


def affine(key: Keys, config: AugmentConfig, size: tuple[int, ...]) -> Tensor:
    """Return (N, axes, axes + 1) maps from output to input coordinates in [-1, 1], as `affine_grid` takes them.

    Coordinates are in the order W, H, D. Rotations are in pixels, also where height and width differ.
    """
    aspect = size[0] / size[1]
    moved = (uniform(key, _MOVED) < config.share).astype(np.float32)
    angle = np.radians(moved * uniform(key, _ROTATE, -config.rotate, config.rotate))
    log_scale = moved * uniform(key, _SCALE, -1.0, 1.0) * np.float32(math.log1p(config.scale))
    shifts = [moved * uniform(key, draw, -config.shift, config.shift) for draw in (_SHIFT_X, _SHIFT_Y, _SHIFT_Z)]
    if config.random is not None:
        more = draw_geometry(key, config.random)
        angle, log_scale = angle + more.angle, log_scale + more.log_scale
        shifts = [own + other for own, other in zip(shifts, more.shifts, strict=True)]
    scale = np.exp(log_scale)
    sign = np.where(uniform(key, _FLIP) < 0.5, -1.0, 1.0) if config.flip else np.ones(len(key))
    cos, sin = np.cos(angle) / scale, np.sin(angle) / scale
    # A shift is a fraction of the side, and the side is 2 long in these coordinates.
    x, y, z = (2 * shift for shift in shifts)
    if len(size) == 2:
        rows = [[cos * sign, -sin * aspect, x], [sin * sign / aspect, cos, y]]
    else:
        none = np.zeros(len(key))
        rows = [[1 / scale, none, none, x], [none, cos, -sin * sign * aspect, y], [none, sin / aspect, cos * sign, z]]
    return torch.from_numpy(np.array(rows, dtype=np.float32).transpose(2, 0, 1).copy())


def _column(values: Float32Array, image: Tensor) -> Tensor:
    return torch.from_numpy(values).view(-1, *(1,) * (image.dim() - 1))
