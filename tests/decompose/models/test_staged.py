"""Stages: the same network in pieces, entered anywhere."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lorkit.decompose.errors import UsageError
from lorkit.decompose.models.backbones import build_backbone, known_backbones
from lorkit.decompose.models.staged import STAGES, staged


@pytest.fixture(params=[name for name in known_backbones(dims=2) if name not in ("resnet34", "resnet50", "vit_small")])
def backbone(request: pytest.FixtureRequest) -> nn.Module:
    torch.manual_seed(0)
    return build_backbone(request.param, channels=3, image_size=(32, 32)).eval()


def test_a_walk_is_the_network_and_every_stage_leads_to_the_same_end(backbone: nn.Module) -> None:
    x = torch.randn(2, 3, 32, 32)
    network = staged(backbone)
    with torch.no_grad():
        walk = network.walk(x)
        torch.testing.assert_close(walk.features, backbone(x))
        assert len(walk.grids) == len(walk.context) == STAGES
        for stage, (grid, context) in enumerate(zip(walk.grids, walk.context, strict=True)):
            assert grid.dim() == 4
            torch.testing.assert_close(network.forward_from(stage, grid, context), walk.features)
            other = network.forward_from(stage, torch.randn_like(grid), context)
            assert not torch.allclose(other, walk.features)


def test_injected_features_train_later_stages_only(backbone: nn.Module) -> None:
    network = staged(backbone)
    with torch.no_grad():
        walk = network.walk(torch.randn(2, 3, 32, 32))
    counts = []
    for stage in range(STAGES):
        backbone.zero_grad(set_to_none=True)
        grid = torch.randn_like(walk.grids[stage]).requires_grad_()
        network.forward_from(stage, grid, walk.context[stage]).square().sum().backward()
        trained = {id(one) for one in backbone.parameters() if one.grad is not None}
        untouched = [one for one in backbone.parameters() if id(one) not in trained]
        assert len(untouched) > 0
        counts.append(len(trained))
        assert grid.grad is not None
        assert grid.grad.any()
    assert counts == sorted(counts, reverse=True)
    assert len(set(counts)) == STAGES


def test_what_is_no_known_architecture_is_refused() -> None:
    with pytest.raises(UsageError, match="a Linear in stages"):
        staged(nn.Linear(2, 2))
    vit = staged(build_backbone("vit_tiny", channels=1, image_size=(32, 32)))
    with pytest.raises(UsageError, match="without a class token"):
        vit.forward_from(0, torch.zeros(1, 192, 8, 8))
