from __future__ import annotations

import importlib.util

import pytest
import torch
from torch import nn

from lorkit.decompose.config import ExpertConfig
from lorkit.decompose.errors import MissingRuntimeError, UsageError
from lorkit.decompose.experts import add_experts_, extract
from lorkit.decompose.models.backbones.registry import (
    UNETS,
    attach_head,
    build_backbone,
    detach_head,
    known_backbones,
)
from lorkit.decompose.models.backbones.stage_adapters import staged


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


@pytest.mark.parametrize("name", [*known_backbones(dims=2), *UNETS])
def test_every_backbone_has_shapes_without_values(name: str) -> None:
    """A training checks its backbones on torch's meta device before it reads data."""
    with torch.device("meta"):
        network = build_backbone(name, channels=1, image_size=(64, 64), dense=name in UNETS)
    assert all(value.is_meta for value in network.parameters())


def test_unknown_names_list_the_known() -> None:
    with pytest.raises(UsageError, match=r"unknown backbone 'resnet19'.*resnet18.*did you mean 'resnet18'"):
        build_backbone("resnet19", channels=3, image_size=(32, 32))


@pytest.mark.skipif(importlib.util.find_spec("timm") is not None, reason="timm is installed")
def test_timm_names_say_how_to_get_timm() -> None:
    with pytest.raises(MissingRuntimeError, match=r"timm, which .* needs, is not installed.*pip install"):
        build_backbone("timm:resnet10t", channels=3, image_size=(32, 32))


@pytest.mark.skipif(importlib.util.find_spec("timm") is None, reason="timm is not installed")
def test_timm_networks_are_headless_too() -> None:
    backbone = build_backbone("timm:resnet10t", channels=1, image_size=(32, 32)).eval()
    assert backbone(torch.randn(2, 1, 32, 32)).shape == (2, backbone.feature_dim)
    with pytest.raises(UsageError, match="unknown backbone 'timm:nothing'"):
        build_backbone("timm:nothing", channels=3, image_size=(32, 32))


@pytest.mark.parametrize(
    ("name", "size", "dense", "message"),
    [
        ("resnet18", (32, 32, 32), False, r"'resnet18' with image size 32x32x32.*2 dimensions.*resnet18_3d"),
        ("resnet18_3d", (32, 32), True, r"'resnet18_3d' with image size 32x32.*3 dimensions"),
        ("unet", (32, 36), True, r"image size 32x36 for backbone 'unet'; required: sides that are multiples of 8"),
        ("swinunetr", (32, 32), True, r"multiples of 32, and one of 64 or more"),
        ("densenet121", (28, 28), False, r"sides of 29 or more"),
        ("nothing", (32, 32), True, r"unknown backbone 'nothing'.*segresnet"),
    ],
)
def test_what_does_not_fit_task_or_image_is_refused_in_a_line(
    name: str, size: tuple[int, ...], dense: bool, message: str
) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        build_backbone(name, channels=1, image_size=size, dense=dense)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["unet", "basicunet", "segresnet", "dynunet"])
def test_experts_reach_the_convolutions_of_a_unet_and_leave_no_trace(name: str) -> None:
    torch.manual_seed(0)
    backbone = build_backbone(name, channels=1, image_size=(16, 32), dense=True).eval()
    x = torch.randn(2, 1, 16, 32)
    with torch.no_grad():
        before, keys = backbone(x), list(backbone.state_dict())
        layers = [name for name, one in backbone.named_modules() if isinstance(one, nn.Conv2d | nn.ConvTranspose2d)]
        routing = add_experts_(backbone, ["a", "b"], ExpertConfig(rank=2, alpha=2))
        assert set(routing.wrapped) == set(layers)
        with routing.use("b"):
            torch.testing.assert_close(backbone(x), before)
            torch.testing.assert_close(staged(backbone).run_stages(x).features, backbone(x), rtol=0, atol=0)
        plain = extract(backbone, "b")
        torch.testing.assert_close(plain(x), before)
    assert list(plain.state_dict()) == keys
    assert type(plain) is type(backbone)


@pytest.mark.parametrize(("dense", "named"), [(True, "segresnet"), (False, "resnet18_3d")])
def test_the_default_foundation_for_volumes_says_what_to_name(dense: bool, named: str) -> None:
    message = rf"'resnet50', the default of foundation.backbone, .* name another one \(.*{named}.* foundation.backbone"
    with pytest.raises(UsageError, match=message):
        build_backbone("resnet50", channels=1, image_size=(16, 16, 16), dense=dense)
