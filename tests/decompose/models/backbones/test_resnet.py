from __future__ import annotations

import pytest
import torch
from torch import nn

from lorkit.decompose.models.backbones.resnet import resnet18, resnet34, resnet50

# published parameter counts of the public networks with 1000 classes, less the classifier
COUNTS = {resnet18: 11_689_512 - 513_000, resnet34: 21_797_672 - 513_000, resnet50: 25_557_032 - 2_049_000}


@pytest.mark.parametrize("build", COUNTS)
def test_parameter_counts_are_the_published_ones(build: object) -> None:
    assert sum(parameter.numel() for parameter in build(3).parameters()) == COUNTS[build]  # type: ignore[operator,index]


def test_key_names_are_torchvisions() -> None:
    state = resnet50(3).state_dict()
    assert len(state) == 318  # the public file's 320 less fc.weight and fc.bias
    for key, shape in {
        "conv1.weight": (64, 3, 7, 7),
        "bn1.num_batches_tracked": (),
        "layer1.0.downsample.0.weight": (256, 64, 1, 1),
        "layer1.0.downsample.1.running_var": (256,),
        "layer2.0.conv2.weight": (128, 128, 3, 3),
        "layer4.2.bn3.bias": (2048,),
    }.items():
        assert state[key].shape == shape
    assert "layer1.0.downsample.0.weight" not in resnet18(3).state_dict()
    assert len(resnet34(3).state_dict()) == 216


def test_the_bottleneck_strides_in_its_3x3() -> None:
    block = resnet50(3).layer2[0]
    assert (block.conv1.stride, block.conv2.stride, block.downsample[0].stride) == ((1, 1), (2, 2), (2, 2))


def test_convolutions_are_drawn_by_fan_out() -> None:
    torch.manual_seed(0)
    weight = resnet18(3).layer4[1].conv2.weight
    assert weight.std().item() == pytest.approx((2 / (512 * 9)) ** 0.5, rel=0.01)
    assert all(module.bias is None for module in resnet18(1).modules() if isinstance(module, nn.Conv2d))
