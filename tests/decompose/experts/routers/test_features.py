"""The default router: what it costs."""

from __future__ import annotations

import pytest

from lorkit.decompose.experts.routers import router_class
from lorkit.decompose.models.backbones.registry import build_backbone
from lorkit.decompose.models.backbones.stage_adapters import stage_shapes
from lorkit.decompose.models.cost import count_macs


# at 32 pixels the stages of a ShuffleNet cost almost nothing
@pytest.mark.parametrize("backbone", ["resnet18", "resnet50", "shufflenet_v2_x1_0", "vit_tiny", "densenet121"])
@pytest.mark.parametrize("side", [32, 224])
def test_the_default_router_costs_at_most_a_twentieth_of_the_backbone(backbone: str, side: int) -> None:
    network = build_backbone(backbone, channels=1, image_size=(side, side))
    grid = stage_shapes(network, (1, side, side))[0]
    router = router_class("features")(grid)
    assert router.taps
    assert count_macs(router, grid) <= 0.05 * count_macs(network, (1, side, side))
