"""timm's networks as foundations and students; without timm, the stages of a stand-in."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lorkit.decompose.config import default_config
from lorkit.decompose.errors import UsageError
from lorkit.decompose.models.backbones.registry import build_backbone
from lorkit.decompose.models.backbones.stage_adapters import StagedMaps, staged
from lorkit.decompose.models.backbones.timm_models import is_timm, timm_normalisation, timm_stages
from lorkit.decompose.models.backbones.vit import EncoderBlock
from lorkit.decompose.models.foundation.user_weights import load_user_weights
from lorkit.decompose.models.stage_features import stage_view
from lorkit.decompose.training.foundation.resolving import resolve_foundation

needs_timm = pytest.mark.skipif(importlib.util.find_spec("timm") is None, reason="timm is not installed")


@needs_timm
@pytest.mark.parametrize(
    ("name", "size"),
    [("resnet10t", 64), ("vit_tiny_patch16_224", 64), ("convnext_atto", 64), ("tf_efficientnet_lite0", 64)],
)
def test_networks_walk_through_four_stages(name: str, size: int) -> None:
    torch.manual_seed(0)
    network = build_backbone(f"timm:{name}", channels=1, image_size=(size, size)).eval()
    assert is_timm(network)
    image = torch.rand(2, 1, size, size)
    with torch.no_grad():
        walk = stage_view(network, dense=False).run_stages(image)
        torch.testing.assert_close(walk.features, network(image), atol=1e-5, rtol=1e-4)
    assert len(walk.grids) == 4
    assert all(grid.dim() == 4 for grid in walk.grids)


@needs_timm
def test_the_default_normalisation_is_timms() -> None:
    data = "regions={a: {data: x}}"
    names = ("image.channels=3", "foundation.backbone=timm:resnet10t")
    image = resolve_foundation(default_config(overrides=[data, *names])).foundation_image
    assert image.mean == pytest.approx((0.485, 0.456, 0.406))
    assert image.size == (32, 32)
    stated = resolve_foundation(default_config(overrides=[data, *names, "foundation.image={size: 48, channels: 1}"]))
    assert stated.foundation_image.size == (48, 48)
    assert stated.foundation_image.std == pytest.approx((0.226,), abs=1e-3)
    own = resolve_foundation(default_config(overrides=[data, *names, "foundation.image={mean: [0,0,0], std: [1,1,1]}"]))
    assert own.foundation_image.mean == (0, 0, 0)
    assert timm_normalisation("timm:resnet10t", 1)["mean"] == pytest.approx((0.449,), abs=1e-3)


@needs_timm
def test_weights_come_from_a_local_file(tmp_path: Path) -> None:
    import timm

    torch.manual_seed(1)
    source = timm.create_model("resnet10t", num_classes=7)
    torch.save(source.state_dict(), tmp_path / "w.pth")
    network = build_backbone("timm:resnet10t", channels=3, image_size=(32, 32))
    report = load_user_weights(network, tmp_path / "w.pth")
    assert report.dropped_heads == ("fc.bias", "fc.weight")
    image = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        expected = source.eval().forward_head(source.forward_features(image), pre_logits=True)
        torch.testing.assert_close(network.eval()(image), expected)


@needs_timm
def test_names_of_a_hub_are_unknown() -> None:
    with pytest.raises(UsageError, match="unknown backbone 'timm:hf-hub:someone/net'"):
        build_backbone("timm:hf-hub:someone/net", channels=3, image_size=(32, 32))


@needs_timm
def test_what_it_imports_works_after_it() -> None:
    """The declarations make torchvision importable, which other libraries look for where it is installed."""
    code = (
        "from lorkit.decompose.models.backbones.timm_models import declare_operators, _import; _import(); import timm"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, timeout=300)


class Patches(nn.Conv2d):
    """An embedding of patches as timm has it: tokens out."""

    def dynamic_feat_size(self, size: tuple[int, int]) -> tuple[int, int]:
        return size[0] // 4, size[1] // 4

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).flatten(2).transpose(1, 2)


class StandIn(nn.Module):
    """A vision transformer with timm's names."""

    num_prefix_tokens = 2

    def __init__(self, pool: str) -> None:
        super().__init__()
        self.global_pool = pool
        self.patch_embed, self.norm = Patches(1, 8, 4, 4), nn.LayerNorm(8)
        self.tokens = nn.Parameter(torch.randn(1, 2, 8))
        self.patch_drop, self.norm_pre = nn.Identity(), nn.Identity()
        self.blocks = nn.Sequential(*(EncoderBlock(8, 2) for _ in range(5)))

    def _pos_embed(self, x: Tensor) -> Tensor:
        return torch.cat((self.tokens.expand(len(x), -1, -1), x), dim=1)

    def forward_head(self, x: Tensor) -> Tensor:
        return x[:, 0] if self.global_pool == "token" else x[:, 2:].mean(1)

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_head(self.norm(self.blocks(self._pos_embed(self.patch_embed(x)))))


def check(network: Any, size: tuple[int, int]) -> None:
    x = torch.randn(2, 1, *size)
    with torch.no_grad():
        for one in (network.eval(), StagedMaps(network).eval()):
            walk, whole = staged(one).run_stages(x), one(x)
            assert torch.equal(walk.features, whole)
            for stage, (grid, context) in enumerate(zip(walk.grids, walk.context, strict=True)):
                assert torch.equal(staged(one).forward_from(stage, grid, context), whole)
                assert not torch.allclose(staged(one).forward_from(stage, grid + 1.0 * (grid > 0), context), whole)


@pytest.mark.parametrize("pool", ["token", "avg"])
def test_a_transformer_of_its_structure_is_entered_at_every_stage(pool: str, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    monkeypatch.setattr(StandIn, "__module__", "timm.models.vision_transformer")
    check(StandIn(pool), (8, 12))


@needs_timm
@pytest.mark.parametrize("name", ["resnet10t", "convnext_atto", "vit_tiny_patch16_224"])
def test_networks_of_timm_are_entered_at_every_stage(name: str) -> None:
    torch.manual_seed(0)
    check(build_backbone(f"timm:{name}", channels=1, image_size=(32, 32)), (32, 32))


@needs_timm
@pytest.mark.parametrize("name", ["test_efficientnet", "mobilenetv3_small_050", "tf_efficientnet_lite0"])
def test_stages_of_an_efficientnet_are_the_grids_that_timm_extracts(name: str) -> None:
    import timm

    torch.manual_seed(0)
    network = settled(build_backbone(f"timm:{name}", channels=1, image_size=(64, 96)))
    check(network, (64, 96))
    reference = timm.create_model(name, in_chans=1, features_only=True)
    report = reference.load_state_dict(network.state_dict(), strict=False)
    assert not report.missing_keys
    x = torch.randn(2, 1, 64, 96)
    with torch.no_grad():
        walk, expected = staged(network).run_stages(x), reference.eval()(x)[1:]
        whole = network.forward_head(network.forward_features(x))
    assert [grid.shape[2:] for grid in walk.grids] == [(16, 24), (8, 12), (4, 6), (2, 3)]
    for grid, own in zip(walk.grids, expected, strict=True):
        assert torch.equal(grid, own)
    assert torch.equal(walk.features, whole)
    assert network.rectified is (name != "mobilenetv3_small_050" and bool((whole >= 0).all()))


def settled(network: Any) -> Any:
    """Return a network in eval mode with running statistics of real batches, so that no layer saturates."""
    with torch.no_grad():
        for _ in range(10):
            network.train()(torch.randn(8, 1, 64, 96))
    return network.eval()


def test_other_networks_have_no_stages_of_timm() -> None:
    assert timm_stages(nn.Linear(2, 2)) is None
