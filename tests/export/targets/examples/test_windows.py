"""The windows of examples give the logits of the windows of lorkit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from monai.inferers.utils import sliding_window_inference

from lorkit.decompose.data.preprocessing import recipe as lorkit
from lorkit.export.targets.examples.windows import blended_logits, resampled_size


def recipe(size: int, overlap: float) -> dict[str, Any]:
    window = {"op": "window", "size": [size] * 3, "overlap": overlap, "blend": "gaussian", "sigma": 0.125}
    return {"steps": [{}, {"spacing": [2.0, 1.0, 1.5]}, window]}


def network(windows: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Logits that depend on the place in the window, so that weights matter."""
    ramp = np.linspace(-1, 1, windows.shape[-1], dtype=np.float32)
    return np.concatenate([windows * ramp, windows - ramp[:, None], windows**2], axis=1)


@pytest.mark.parametrize("sides", [(20, 11, 30), (8, 8, 8), (5, 40, 7)])
@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5])
def test_they_are_monais(sides: tuple[int, int, int], overlap: float) -> None:
    volume = np.random.default_rng(0).random((1, *sides), dtype=np.float32)
    found = blended_logits(network, volume, recipe(8, overlap))
    wanted = sliding_window_inference(
        torch.from_numpy(volume)[None], (8, 8, 8), 1, lambda one: torch.from_numpy(network(one.numpy())), overlap,
        "gaussian", 0.125,
    )[0].numpy()  # fmt: skip
    np.testing.assert_allclose(found, wanted, atol=2e-5)


def test_sizes_at_a_spacing_are_lorkits() -> None:
    rng = np.random.default_rng(1)
    for _ in range(50):
        size, own = rng.integers(1, 300, 3).tolist(), rng.uniform(0.3, 5, 3).tolist()
        assert tuple(resampled_size(size, own, recipe(8, 0))) == lorkit.resampled_size(size, own, (2.0, 1.0, 1.5))
