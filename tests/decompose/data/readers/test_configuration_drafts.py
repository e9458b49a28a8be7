"""Sizes and batches of drafted configurations; the configurations themselves are proved in the tests of `init`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lorkit.decompose.data.readers.configuration_drafts import batch_size, draft_configurations, input_size
from lorkit.decompose.data.readers.discovery import discover


@pytest.mark.parametrize(
    ("shape", "size"),
    [
        ((28, 28), (32, 32)),
        ((60, 72), (64, 64)),
        ((512, 700), (160, 224)),
        ((2000, 2000), (224, 224)),
        ((64, 300), (32, 224)),
        ((20, 24, 18), (16, 32, 16)),
        ((90, 120, 120), (48, 64, 64)),
        ((512, 512, 30), (128, 128, 16)),
    ],
)
def test_a_network_takes_a_size_near_that_of_the_images(shape: tuple[float, ...], size: tuple[int, ...]) -> None:
    assert input_size(shape) == size


def test_every_size_can_be_built_and_is_not_larger_than_asked() -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        dims = int(rng.integers(2, 4))
        size = input_size(rng.integers(4, 900, dims))
        step, most = (32, 224) if dims == 2 else (16, 128)
        assert all(side % step == 0 and step <= side <= most for side in size)
        assert max(size) >= 32  # U-Nets halve four times
        batch = batch_size(size)
        assert batch & (batch - 1) == 0
        assert (16 if dims == 2 else 4) <= batch <= 128


def test_regions_with_the_same_images_in_other_parts_are_split_anew(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 255, (40, 9, 10)).astype("u1")
    parts = np.array(["train"] * 20 + ["test"] * 20)
    for name, split in (("a", parts), ("b", parts[::-1])):
        np.savez(tmp_path / f"{name}.npz", images=images, labels=np.arange(40) % 2, split=split)
    (found,), problems = draft_configurations(discover(tmp_path))
    assert not problems
    assert [region.settings["parts"] for region in found.regions] == ["anew", "anew"]
