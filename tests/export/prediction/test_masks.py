"""Masks: how they are written and outlined."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from lorkit.export.prediction.masks import colour, outline, png


def test_a_written_mask_keeps_its_values_and_shows_their_colours() -> None:
    mask = np.array([[0, 1], [2, 9]], dtype=np.uint8)
    image = Image.open(io.BytesIO(png(mask)))
    np.testing.assert_array_equal(np.asarray(image), mask)
    shown = np.asarray(image.convert("RGB"))
    assert [tuple(pixel) for pixel in shown.reshape(-1, 3).tolist()] == [colour(value) for value in (0, 1, 2, 9)]
    assert colour(9) == colour(2) != colour(1)


def test_an_outline_is_what_touches_the_outside() -> None:
    mask = np.zeros((5, 5), dtype=bool)
    mask[:3, 1:4] = True
    wanted = mask.copy()
    wanted[:2, 2] = False  # the border of the image counts as inside
    np.testing.assert_array_equal(outline(mask), wanted)
