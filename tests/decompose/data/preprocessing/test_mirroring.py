"""Flips at test time: which axis, maps mirrored back, and the mean of both."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lorkit.decompose.config import AugmentConfig
from lorkit.decompose.data.batches.augmentation import augment
from lorkit.decompose.data.preprocessing.mirroring import check_flips, mirror_axis, with_mirrored
from lorkit.decompose.data.random_numbers import keys
from lorkit.decompose.errors import UsageError
from lorkit.decompose.evaluation.inference import WithMirrored

SIZES = ((6, 8), (4, 6, 8))


@pytest.mark.parametrize("size", SIZES)
def test_images_are_mirrored_as_in_training(size: tuple[int, ...]) -> None:
    image = torch.rand(8, 1, *size, generator=torch.Generator().manual_seed(0))
    only = AugmentConfig(flip=True, shift=0, rotate=0, scale=0, intensity=0)
    mirrored = image.flip(mirror_axis(len(size)))
    found = augment(image, keys(0, 0, 1, 0, np.arange(8)), only)
    assert {bool((a == b).all()) for a, b in zip(found, mirrored, strict=True)} == {True, False}
    assert all((a == b).all() or (a == c).all() for a, b, c in zip(found, mirrored, image, strict=True))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("dense", [False, True])
def test_the_mean_is_of_both_images_and_maps_are_mirrored_back(size: tuple[int, ...], dense: bool) -> None:
    """Weights by place see sides: the mean of both is written down with the weights mirrored instead of the image."""
    rng = np.random.default_rng(0)
    weight, image = rng.random(size), rng.random((3, 1, *size)).astype(np.float32)
    mirrored = np.flip(weight, 0 if len(size) == 3 else 1)

    def network(batch: np.ndarray) -> np.ndarray:
        product = batch * weight
        return np.exp(product) if dense else np.exp(product.reshape(len(batch), -1).sum(1, keepdims=True) / 50)

    if dense:
        expected = (np.exp(image * weight) + np.exp(image * mirrored)) / 2
    else:
        sums = [(image[:, 0] * one).reshape(3, -1).sum(1, keepdims=True) / 50 for one in (weight, mirrored)]
        expected = (np.exp(sums[0]) + np.exp(sums[1])) / 2
    np.testing.assert_allclose(with_mirrored(network)(image), expected, rtol=1e-6)

    class Network(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.from_numpy(network(x.numpy()))

    np.testing.assert_allclose(WithMirrored(Network())(torch.from_numpy(image)).numpy(), expected, rtol=1e-6)


def test_sides_that_matter_and_those_unknown_are_refused_in_one_line() -> None:
    check_flips("knee", False)
    for sided, message in ((True, "'knee', where left and right differ"), (None, "does not say whether sides matter")):
        with pytest.raises(UsageError, match=message) as caught:
            check_flips("knee", sided)
        assert "\n" not in str(caught.value)
