from __future__ import annotations

import importlib.util

import pytest
import torch
from torch import nn

from lorkit.decompose.errors import MissingRuntimeError, UsageError
from lorkit.decompose.models import attach_head, build_backbone, detach_head, known_backbones


@pytest.mark.parametrize("name", known_backbones(dims=2))
@pytest.mark.parametrize("channels", [1, 3])
def test_every_backbone_is_headless_and_takes_a_head(name: str, channels: int) -> None:
    torch.manual_seed(0)
    backbone = build_backbone(name, channels=channels, image_size=(32, 32)).eval()
    assert type(backbone.get_submodule(backbone.head_name)) is nn.Identity
    x = torch.randn(2, channels, 32, 32)
    with torch.no_grad():
        features = backbone(x)
        assert features.shape == (2, backbone.feature_dim)
        head = nn.Linear(backbone.feature_dim, 3)
        network = attach_head(backbone, head).eval()
        torch.testing.assert_close(network(x), head(features))
        torch.testing.assert_close(detach_head(network)(x), features)
    assert f"{backbone.head_name}.weight" in network.state_dict()
    assert network.get_submodule(backbone.head_name) is not head
    assert list(detach_head(network).state_dict()) == list(backbone.state_dict())


def test_unknown_names_list_the_known() -> None:
    with pytest.raises(UsageError, match=r"unknown backbone 'resnet19'.*resnet18.*did you mean 'resnet18'"):
        build_backbone("resnet19", channels=3, image_size=(32, 32))


@pytest.mark.skipif(importlib.util.find_spec("timm") is not None, reason="timm is installed")
def test_timm_names_say_how_to_get_timm() -> None:
    with pytest.raises(MissingRuntimeError, match=r"needs timm.*pip install"):
        build_backbone("timm:resnet10t", channels=3, image_size=(32, 32))


@pytest.mark.skipif(importlib.util.find_spec("timm") is None, reason="timm is not installed")
def test_timm_networks_are_headless_too() -> None:
    backbone = build_backbone("timm:resnet10t", channels=1, image_size=(32, 32)).eval()
    assert backbone(torch.randn(2, 1, 32, 32)).shape == (2, backbone.feature_dim)
    with pytest.raises(UsageError, match="unknown backbone 'timm:nothing'"):
        build_backbone("timm:nothing", channels=3, image_size=(32, 32))
