"""Small images to draw on: ellipses, bands, waves and textures, for all samples of a chunk at once.

Every operation is IEEE-exact (sums, products, quotients, square roots, comparisons) or an integer hash, and no result
depends on the order of a sum. So the pixels, and the digests of splits, are the same on every machine and with every
numpy version.

Shapes: N samples, H = W = `SIDE`; parameters of a shape are (N, 1, 1) or numbers; fields are (N, H, W). Coordinates are
in [-1, 1], u to the right and v downwards; lengths are fractions of half the side.
"""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lorkit.decompose.data.random_numbers import Keys, keys, uniform

SIDE = 64
_NODES = 9  # texture nodes per side, SIDE / (nodes - 1) pixels apart

Field = NDArray[Any]  # float32
Value = Field | float


class Draws:
    """Random parameters by name: of the patient (anatomy, disease) or of the single image (pose, noise)."""

    def __init__(self, patient: Keys, picture: Keys) -> None:
        self._keys = {"patient": patient, "picture": picture}

    def __len__(self) -> int:
        return len(self._keys["picture"])

    def __call__(self, name: str, low: float, high: float, *, of: str = "patient") -> Field:
        """Return (N, 1, 1) uniform numbers in [low, high)."""
        return uniform(self._keys[of], zlib.crc32(name.encode()), low, high)[:, None, None]

    def chance(self, name: str, share: float) -> Field:
        """Return (N, 1, 1) of 1 for this share of the samples, else 0."""
        return (self(name, 0.0, 1.0) < share).astype(np.float32)

    def side(self, name: str) -> Field:
        """Return (N, 1, 1) of -1 or 1."""
        return 1 - 2 * self.chance(name, 0.5)

    def words(self, name: str, count: int) -> NDArray[np.uint64]:
        """Return (N, count) hashed words of the image."""
        counters = np.arange(count, dtype=np.uint64)[None, :]
        return keys(self._keys["picture"][:, None], zlib.crc32(name.encode()), counters)


class Canvas:
    """Images under construction in `image`, with coordinate fields `u` and `v` in each image's pose.

    `structures` are the fields of marked structures, in the order in which they were marked.
    """

    def __init__(self, draws: Draws) -> None:
        axis = ((2 * np.arange(SIDE) + 1 - SIDE) / SIDE).astype(np.float32)
        x, y = axis[None, None, :], axis[None, :, None]
        sine = draws("pose.turn", -0.08, 0.08, of="picture")
        cosine = np.sqrt(1 - sine * sine)
        zoom = 1 / draws("pose.zoom", 0.93, 1.05, of="picture")
        x = x - draws("pose.x", -0.06, 0.06, of="picture")
        y = y - draws("pose.y", -0.06, 0.06, of="picture")
        self.draws = draws
        self.u: Field = (x * cosine + y * sine) * zoom
        self.v: Field = (y * cosine - x * sine) * zoom
        self.image: Field = np.zeros_like(self.u)
        self.structures: dict[str, Field] = {}

    def paint(self, mask: Field, value: Value) -> None:
        """Blend the image with `value` by `mask` in [0, 1]."""
        self.image += mask * (value - self.image)

    def add(self, mask: Field, amount: Value) -> None:
        """Add `amount` to the image under the mask."""
        self.image += mask * amount

    def mark(self, name: str, mask: Field) -> None:
        """Note where a structure is; a later one covers it."""
        self.structures[name] = mask

    def masks(self) -> NDArray[np.uint8]:
        """Return the marked structures as 1, 2, ... by pixel, 0 elsewhere."""
        found = np.zeros(self.image.shape, dtype=np.uint8)
        for value, mask in enumerate(self.structures.values(), start=1):
            found[mask > 0.5] = value
        return found

    def radius(self, x: Value, y: Value, width: Value, height: Value) -> Field:
        """Return the squared elliptic radius: 0 at (x, y), 1 on the ellipse with these half axes."""
        across, down = (self.u - x) / width, (self.v - y) / height
        return across * across + down * down

    def ellipse(self, x: Value, y: Value, width: Value, height: Value, sharpness: Value = 6.0) -> Field:
        """Return a filled ellipse; a larger sharpness gives a harder edge."""
        return _unit((1 - self.radius(x, y, width, height)) * sharpness)

    def blob(self, x: Value, y: Value, size: Value) -> Field:
        """Return a round blob that fades outwards: the feature that has another meaning in every region."""
        inside = _unit(1 - self.radius(x, y, size, size))
        return np.asarray(inside * (2 - inside))

    def band(self, x: Value, y: Value, slope: Value, width: Value, length: Value) -> Field:
        """Return a straight band through (x, y) with half width and half length; slope is its du/dv."""
        stretch = np.sqrt(1 + slope * slope)
        across = ((self.u - x) - slope * (self.v - y)) / (stretch * width)
        along = ((self.v - y) + slope * (self.u - x)) / (stretch * length)
        return _unit(2 * (1 - across * across)) * _unit(4 * (1 - along * along))

    def wave(self, phase: Field) -> Field:
        """Return a smooth wave of period 1: 1 at half-integers of `phase`, 0 at integers."""
        part = phase - np.floor(phase)
        return np.asarray(4 * part * (1 - part))

    def step(self, field: Field, sharpness: float) -> Field:
        """Return 1 where `field` is positive, 0 where negative, with a ramp of width 1 / sharpness between."""
        return _unit(field * sharpness + 0.5)

    def texture(self, name: str) -> Field:
        """Return a smooth random field in [-1, 1]: hashed nodes, linearly interpolated.

        Weights and nodes are small multiples of powers of two, so the products are exact in any order of summation.
        """
        nodes = (self.draws.words(name, _NODES * _NODES) >> np.uint64(56)).astype(np.float32)
        grid = (nodes.reshape(-1, _NODES, _NODES) - 128) / 128
        return np.asarray(_JOIN @ grid @ _JOIN.T, dtype=np.float32)

    def noise(self, name: str) -> Field:
        """Return approximately normal noise of variance 1, the sum of four uniform numbers, grainy along rows."""
        words = self.draws.words(name, SIDE * SIDE // 4)
        fields = words.astype("<u8", copy=False).view("<u2").astype(np.float32)
        rolled = fields + np.roll(fields, 1, axis=1)
        total = rolled + np.roll(rolled, SIDE * 7 + 3, axis=1)
        return ((total - 131070.0) / 37837.0).reshape(-1, SIDE, SIDE)

    def pixels(self) -> NDArray[np.uint8]:
        """Return the images as uint8, scaled from [0, 1]."""
        return np.asarray(np.rint(_unit(self.image) * 255), dtype=np.uint8)


def _unit(field: Field) -> Field:
    return np.asarray(np.clip(field, 0.0, 1.0))


def _join() -> Field:
    gap = SIDE // (_NODES - 1)
    weights = np.zeros((SIDE, _NODES), dtype=np.float32)
    for pixel in range(SIDE):
        node, rest = divmod(2 * pixel + 1, 2 * gap)
        weights[pixel, node] = 1 - rest / (2 * gap)
        weights[pixel, min(node + 1, _NODES - 1)] += rest / (2 * gap)
    return weights


_JOIN = _join()
