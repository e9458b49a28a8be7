from __future__ import annotations

import pytest
import torch
from torch import nn

from lorkit.decompose.models.backbones.registry import build_backbone
from lorkit.decompose.models.backbones.vit import VisionTransformer
from lorkit.decompose.models.cost import count_macs, count_parameters


def test_convolutions_and_linear_layers_by_hand() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1),
        nn.BatchNorm2d(8),
        nn.Conv2d(8, 8, 3, padding=1, groups=8),
        nn.Flatten(),
        nn.Linear(8 * 16, 5),
    )
    assert count_macs(model, (3, 8, 8)) == 16 * 8 * 27 + 16 * 8 * 9 + 8 * 16 * 5
    assert count_parameters(model) == 3 * 8 * 9 + 8 + 16 + 8 * 9 + 8 + 8 * 16 * 5 + 5


def test_attention_is_counted() -> None:
    model = VisionTransformer(channels=1, image_size=(8, 8), width=8, heads=2, depth=1, patch=4)
    patches, tokens = 4 * 8 * 16, 5
    assert count_macs(model, (1, 8, 8)) == patches + tokens * 8 * (4 * 8 + 2 * 32) + 2 * tokens * tokens * 8


@pytest.mark.parametrize(("name", "published"), [("resnet18", 1.814e9), ("shufflenet_v2_x1_0", 0.1446e9)])
def test_published_counts_at_224_pixels(name: str, published: float) -> None:
    backbone = build_backbone(name, channels=3, image_size=(224, 224))
    assert count_macs(backbone, (3, 224, 224)) == pytest.approx(published, rel=0.01)


def test_the_module_is_not_touched() -> None:
    model = nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1))
    before = {key: value.clone() for key, value in model.state_dict().items()}
    assert count_macs(model, (1, 2, 2)) == count_macs(model, (1, 2, 2)) == 4
    assert model.training
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


def test_a_parameter_at_two_places_counts_once() -> None:
    layer = nn.Linear(2, 2)
    assert count_parameters(nn.Sequential(layer, layer)) == 6


def test_volumes_and_transposed_convolutions_by_hand() -> None:
    model = nn.Sequential(
        nn.Conv3d(2, 4, 3, stride=2, padding=1), nn.ConvTranspose3d(4, 3, 2, stride=2), nn.Conv3d(3, 1, 1)
    )
    small, large = 2 * 3 * 4, 4 * 6 * 8
    assert count_macs(model, (2, 4, 6, 8)) == small * 4 * 2 * 27 + small * 4 * 3 * 8 + large * 3
    plane = nn.Sequential(nn.ConvTranspose2d(4, 2, 3, stride=2, padding=1, output_padding=1))
    assert count_macs(plane, (4, 5, 7)) == 5 * 7 * 4 * 2 * 9
