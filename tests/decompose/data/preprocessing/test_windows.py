"""Sliding windows: as MONAI's, and as the decoding of all logits of the volume."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.inferers.utils import sliding_window_inference
from scipy.special import softmax
from torch import nn

from lorkit.decompose.data.preprocessing.decoding import decode_at
from lorkit.decompose.data.preprocessing.stages import StageTimes
from lorkit.decompose.data.preprocessing.window_grid import WindowGrid
from lorkit.decompose.data.preprocessing.windows import gaussian_weights, segment_windows
from lorkit.decompose.documents.recipe import Window
from lorkit.decompose.errors import ArtifactError
from lorkit.decompose.events import Event, Working

Sides = tuple[int, int, int]


def windows(size: Sides, overlap: float = 0.25, sigma: float = 0.125) -> Window:
    return Window(op="window", size=list(size), overlap=overlap, blend="gaussian", sigma=sigma)


def network(batch: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return three outputs that depend on the place within the window, so that blending matters."""
    ramp = np.linspace(-1, 1, batch[0, 0].size, dtype=np.float32).reshape(batch.shape[2:])
    mean = batch.mean(1)
    return np.stack([mean * 3, np.roll(mean, 1, axis=1) * 4 - ramp, 2 * ramp + mean**2], axis=1)


def blended(volume: np.ndarray[Any, Any], step: Window) -> np.ndarray[Any, Any]:
    """Return the logits of the whole volume, added up in float64."""
    grid = WindowGrid.of(volume.shape[1:], step)
    pads = [(0, 0), *((b, f - s - b) for b, f, s in zip(grid.before, grid.padded, grid.sides, strict=True))]
    padded = np.pad(volume, pads)
    total = np.zeros((3, *grid.padded))
    weight = np.zeros(grid.padded)
    own = gaussian_weights(grid.window, step.sigma).astype(np.float64)
    for place in product(*grid.starts):
        at = tuple(slice(start, start + side) for start, side in zip(place, grid.window, strict=True))
        total[:, *at] += own * network(padded[None, :, *at])[0]
        weight[at] += own
    inside = tuple(slice(b, b + s) for b, s in zip(grid.before, grid.sides, strict=True))
    return (total / weight)[:, *inside].astype(np.float32)


@settings(deadline=None, max_examples=60)
@given(
    sides=st.tuples(*[st.integers(1, 23)] * 3),
    window=st.tuples(*[st.integers(2, 9)] * 3),
    size=st.tuples(*[st.integers(1, 30)] * 3),
    overlap=st.sampled_from([0.0, 0.25, 0.5, 0.75]),
    batch=st.integers(1, 5),
    seed=st.integers(0, 2**16),
    same=st.booleans(),
    exclusive=st.booleans(),
)
def test_streaming_equals_the_whole_volume(
    sides: Sides, window: Sides, size: Sides, overlap: float, batch: int, seed: int, same: bool, exclusive: bool
) -> None:
    """Equal to blending all logits and decoding them, wherever the answer is not a near tie."""
    volume = np.random.default_rng(seed).normal(size=(2, *sides)).astype(np.float32)
    step, size = windows(window, overlap), sides if same else size
    found = segment_windows(network, volume, step, size, batch=batch, exclusive=exclusive)
    logits = blended(volume, step)
    if exclusive:
        clear = _clear(logits, size)
        np.testing.assert_array_equal(found[clear], decode_at(logits, size)[clear])
    else:
        for index, own in enumerate(logits):
            pair = np.stack([np.zeros_like(own), own])  # the softmax of (0, x) is the sigmoid of x
            clear = _clear(pair, size)
            np.testing.assert_array_equal((found[clear] >> index) & 1, decode_at(pair, size)[clear])
    assert found.shape == size


def _clear(logits: np.ndarray[Any, Any], size: Sides) -> np.ndarray[Any, Any]:
    from lorkit.decompose.data.preprocessing.recipe import resize_image

    shares = np.stack([resize_image(np.ascontiguousarray(own), size) for own in softmax(logits, axis=0)])
    ordered = np.sort(shares if logits.shape[1:] != size else softmax(logits, axis=0), axis=0)
    return ordered[-1] - ordered[-2] > 1e-5


@pytest.mark.parametrize("sides", [(17, 9, 21), (5, 30, 8)])
@pytest.mark.parametrize("overlap", [0.0, 0.5])
def test_logits_are_blended_as_monai_blends_them(sides: Sides, overlap: float) -> None:
    """A convolution in windows, against MONAI's sliding windows of the same network."""
    torch.manual_seed(0)
    net = nn.Conv3d(1, 4, 3, padding=1)
    volume = torch.rand(1, *sides)
    with torch.inference_mode():
        stock = sliding_window_inference(volume[None], (8, 8, 8), 2, net, overlap, "gaussian", 0.125)[0].numpy()
        found = segment_windows(
            lambda batch: net(torch.from_numpy(batch)).numpy(),
            volume.numpy(),
            windows((8, 8, 8), overlap),
            sides,
            batch=2,
        )
    ordered = np.sort(stock, axis=0)
    clear = ordered[-1] - ordered[-2] > 1e-5
    assert clear.mean() > 0.99
    np.testing.assert_array_equal(found[clear], stock.argmax(0)[clear])


def test_progress_and_stage_times() -> None:
    events, now = list[Event](), iter(range(10**6))
    stages = StageTimes(lambda: next(now))
    volume = np.zeros((1, 9, 9, 9), dtype=np.float32)
    segment_windows(
        network, volume, windows((6, 6, 6)), (12, 9, 9), batch=3, text="liver", on_event=events.append, stages=stages
    )
    assert [(one.done, one.total) for one in events if isinstance(one, Working)] == [(0, 8), (3, 8), (6, 8), (8, 8)]
    used = {name for name, seconds in stages.seconds.items() if seconds > 0}
    assert used == {"windows", "network", "blend", "argmax", "inverse_resample"}


def test_outputs_of_another_size_are_refused() -> None:
    with pytest.raises(ArtifactError, match="one value per voxel"):
        segment_windows(
            lambda batch: batch[..., ::2], np.zeros((1, 4, 4, 4), np.float32), windows((4, 4, 4)), (4, 4, 4)
        )
