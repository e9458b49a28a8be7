from __future__ import annotations

import pytest
import torch
from torch import nn

from lorkit.decompose.models.backbones.outputs import feature_width, with_own_output
from lorkit.decompose.models.backbones.registry import attach_head, build_backbone, detach_head, new_head
from lorkit.decompose.models.backbones.unets import UNETS

SMALLEST = {"swinunetr": (32, 64), "basicunet": (16, 32)}


@pytest.mark.parametrize("name", [*UNETS, "shufflenet_v2_x1_0"])
@pytest.mark.parametrize("dims", [2, 3])
def test_networks_for_maps_keep_the_grid_and_take_a_convolution(name: str, dims: int) -> None:
    if dims == 3 and name == "shufflenet_v2_x1_0":
        name = "resnet18_3d"
    size = SMALLEST.get(name, (8, 16)) + ((32,) if name == "swinunetr" else (16,)) * (dims - 2)
    torch.manual_seed(0)
    backbone = build_backbone(name, channels=2, image_size=size, dense=True).eval()
    head = new_head(backbone, 3, maps=True)
    assert isinstance(head, nn.Conv2d if dims == 2 else nn.Conv3d)
    x = torch.randn(1, 2, *size)
    with torch.no_grad():
        maps = with_own_output(backbone, dense=True)(x)
        assert maps.shape == (1, feature_width(backbone, dense=True), *size)
        network = attach_head(with_own_output(backbone, dense=True), head).eval()
        torch.testing.assert_close(network(x), head(maps))
        torch.testing.assert_close(detach_head(network)(x), backbone(x))
    values = list(network.state_dict().values())
    assert len({value.data_ptr() for value in values}) == len(values), "safetensors writes no tensor twice"
