"""Stages of timm's networks; where timm is not installed, of a stand-in with its structure."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lorkit.decompose.models.backbones.registry import build_backbone
from lorkit.decompose.models.backbones.stage_adapters import StagedMaps, staged
from lorkit.decompose.models.backbones.timm_stages import timm_stages
from lorkit.decompose.models.backbones.vit import EncoderBlock


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
        for one in (network.eval(), StagedMaps(network, (1, *size)).eval()):
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


@pytest.mark.skipif(importlib.util.find_spec("timm") is None, reason="timm is not installed")
@pytest.mark.parametrize("name", ["resnet10t", "convnext_atto", "vit_tiny_patch16_224"])
def test_networks_of_timm_are_entered_at_every_stage(name: str) -> None:
    torch.manual_seed(0)
    check(build_backbone(f"timm:{name}", channels=1, image_size=(32, 32)), (32, 32))


def test_other_networks_have_no_stages_of_timm() -> None:
    assert timm_stages(nn.Linear(2, 2)) is None
