"""Simulated scanners: contrast, resolution, field and noise, so that one region has several domains.

As in `canvas`, every operation is exact on every machine: square roots, products and sums of two numbers.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from lorkit.decompose.data.phantoms.canvas import Canvas


def plain(canvas: Canvas) -> None:
    """Leave the image as it is."""


def bright(canvas: Canvas) -> None:
    """Lift dark tissue (the square root), with noise."""
    canvas.image = np.sqrt(np.clip(canvas.image, 0, 1)) + canvas.noise("scanner") * np.float32(0.06)


def coarse(canvas: Canvas) -> None:
    """Lower dark tissue (the square) at half the resolution, with a little noise."""
    squared = np.clip(canvas.image, 0, 1) ** 2
    rows = squared[:, ::2] + squared[:, 1::2]
    blocks = (rows[:, :, ::2] + rows[:, :, 1::2]) / 4
    canvas.image = np.repeat(np.repeat(blocks, 2, axis=1), 2, axis=2) + canvas.noise("scanner") * np.float32(0.02)


def uneven(canvas: Canvas) -> None:
    """Brighten one side of the image and darken another, with noise."""
    field = 1 + np.float32(0.5) * canvas.texture("scanner.field")
    canvas.image = canvas.image * field + canvas.noise("scanner") * np.float32(0.04)


SCANNERS: dict[str, Callable[[Canvas], None]] = {"plain": plain, "bright": bright, "coarse": coarse, "uneven": uneven}
