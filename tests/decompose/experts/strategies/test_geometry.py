from __future__ import annotations

import pytest
import torch
from torch import nn

from lorkit.decompose.experts.strategies.geometry import LayerGeometry


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.Linear(5, 7), (2, 3, 5)),
        (nn.Conv2d(3, 8, 3, stride=2, padding=1), (2, 3, 9, 8)),
        (nn.Conv1d(3, 8, 4, padding="same", dilation=2), (2, 3, 9)),
        (nn.Conv3d(4, 8, 3, groups=2), (2, 4, 5, 6, 7)),
        (nn.ConvTranspose2d(3, 4, 3, stride=2, padding=1, output_padding=1), (2, 3, 4, 5)),
    ],
)
def test_the_site_knows_the_shape_of_the_output(layer: nn.Module, shape: tuple[int, ...]) -> None:
    site = LayerGeometry.of(layer, "conv", 2)  # type: ignore[arg-type]
    assert site.output(site.spatial(shape)) == site.spatial(tuple(layer(torch.zeros(shape)).shape))
