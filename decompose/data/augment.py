"""Random changes of training images, vectorised over a batch and repeatable by counter.

Shapes: N samples, P planes, H W. A sample's draws depend on (seed, epoch, region, pass, sample) only, never on the
batch it stands in, so a resumed run and a run on other ranks see the same pictures.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from lorkit.decompose.data.counters import Keys, uniform

if TYPE_CHECKING:
    from lorkit.decompose.config import AugmentConfig

_FLIP, _ROTATE, _SCALE, _SHIFT_X, _SHIFT_Y, _GAIN, _OFFSET, _MOVED = range(8)


def augment(image_NPHW: Tensor, key: Keys, config: AugmentConfig) -> Tensor:
    """Mirror, rotate, scale and shift each image, then change its contrast and brightness.

    Args:
        image_NPHW: float32 in [0, 1].
        key: (N,) keys of the samples' draws.
        config: How far each change may go; 0 or False leaves it out.

    Returns:
        (N, P, H, W) float32 in [0, 1]; pixels from outside repeat the border.
    """
    if config.shift or config.rotate or config.scale:
        theta_N23 = affine(key, config, tuple(image_NPHW.shape[-2:]))
        grid = F.affine_grid(theta_N23, list(image_NPHW.shape), align_corners=False)
        image_NPHW = F.grid_sample(image_NPHW, grid, mode="bilinear", padding_mode="border", align_corners=False)
    elif config.flip:
        mirrored = torch.from_numpy(uniform(key, _FLIP) < 0.5)
        image_NPHW = torch.where(mirrored[:, None, None, None], image_NPHW.flip(-1), image_NPHW)
    if config.intensity:
        gain = _column(uniform(key, _GAIN, 1 - config.intensity, 1 + config.intensity))
        offset = _column(uniform(key, _OFFSET, -config.intensity / 2, config.intensity / 2))
        image_NPHW = ((image_NPHW - 0.5) * gain + (0.5 + offset)).clamp(0.0, 1.0)
    return image_NPHW


def affine(key: Keys, config: AugmentConfig, size: tuple[int, ...]) -> Tensor:
    """Return (N, 2, 3) maps from output to input coordinates in [-1, 1], as `affine_grid` takes them.

    Rotation is a rotation in pixels also where height and width differ.
    """
    aspect = size[0] / size[1]
    moved = (uniform(key, _MOVED) < config.share).astype(np.float32)
    angle = np.radians(moved * uniform(key, _ROTATE, -config.rotate, config.rotate))
    scale = np.exp(moved * uniform(key, _SCALE, -1.0, 1.0) * np.float32(math.log1p(config.scale)))
    sign = np.where(uniform(key, _FLIP) < 0.5, -1.0, 1.0) if config.flip else np.ones(len(key))
    cos, sin = np.cos(angle) / scale, np.sin(angle) / scale
    # A shift is a fraction of the side, and the side is 2 long in these coordinates.
    shift_x = 2 * moved * uniform(key, _SHIFT_X, -config.shift, config.shift)
    shift_y = 2 * moved * uniform(key, _SHIFT_Y, -config.shift, config.shift)
    rows = [[cos * sign, -sin * aspect, shift_x], [sin * sign / aspect, cos, shift_y]]
    return torch.from_numpy(np.array(rows, dtype=np.float32).transpose(2, 0, 1).copy())


def _column(values: NDArray[np.float32]) -> Tensor:
    return torch.from_numpy(values)[:, None, None, None]
