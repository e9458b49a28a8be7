"""Places of windows: MONAI's, in an order that takes little memory."""

from __future__ import annotations

from itertools import product

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data.utils import compute_importance_map, dense_patch_slices
from monai.inferers.utils import _get_scan_interval

from lorkit.decompose.data.preprocessing.window_grid import WindowGrid
from lorkit.decompose.data.preprocessing.windows import gaussian_weights
from lorkit.decompose.documents.recipe import Window

Sides = tuple[int, int, int]


def windows(size: Sides, overlap: float = 0.25, sigma: float = 0.125) -> Window:
    return Window(op="window", size=list(size), overlap=overlap, blend="gaussian", sigma=sigma)


@settings(deadline=None, max_examples=40)
@given(
    st.tuples(*[st.integers(1, 40)] * 3), st.tuples(*[st.integers(1, 12)] * 3), st.floats(0, 0.9), st.floats(0.05, 0.5)
)
def test_positions_and_weights_are_those_of_monai(sides: Sides, window: Sides, overlap: float, sigma: float) -> None:
    grid = WindowGrid.of(sides, windows(window, overlap))
    interval = _get_scan_interval(grid.padded, window, 3, [overlap] * 3)
    slices = dense_patch_slices(grid.padded, window, interval)
    assert list(product(*grid.starts)) == [tuple(axis.start for axis in one) for one in slices]
    assert sorted(grid.places()) == list(product(*grid.starts))
    assert len(grid) == len(slices)
    weights = compute_importance_map(window, mode="gaussian", sigma_scale=sigma)
    np.testing.assert_allclose(gaussian_weights(window, sigma), weights.numpy(), rtol=2e-6, atol=1e-7)


def test_the_last_rows_are_in_one_bar_where_they_share_most_planes() -> None:
    """Of 320 planes the windows at 216 and 224 share 88, which would be carried over the whole volume."""
    grid = WindowGrid.of((320, 320, 320), windows((96, 96, 96)))
    assert grid.groups == ((0,), (72,), (144,), (216, 224))
    assert (grid.span, grid.shared) == (104, 24)
