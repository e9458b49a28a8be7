"""Networks that are described, built again with fresh weights, and loaded compute the same."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from routed_models import make_routed, routed_batch
from settled_models import images, settled

from lorkit.decompose.documents.gated import GatedLayers
from lorkit.decompose.errors import UsageError
from lorkit.decompose.methods import TrainingModule
from lorkit.decompose.models.backbones.registry import build_backbone
from lorkit.decompose.models.deployed_mixtures import region_id_network
from lorkit.decompose.models.mixtures.rebuilding import describe_gated, rebuild_gated, rebuild_routed


def read_back(layers: GatedLayers) -> GatedLayers:
    return GatedLayers.model_validate_json(layers.model_dump_json())


def test_a_backbone_by_region_id(tiny_module: Callable[..., TrainingModule]) -> None:
    model = settled(tiny_module("lorkd", "lorkd.layout=reshape", "lorkd.ranks.a=3").live)
    network = region_id_network(model, (1, 16, 16))
    layers = read_back(describe_gated(network.backbone, [network.gates]))
    again, gates = rebuild_gated(build_backbone("tiny", channels=1, image_size=(16, 16)).double().eval(), layers)
    again.load_state_dict(network.backbone.state_dict())
    image, region = images(3, 16), torch.tensor([1, 0, 1])
    for one in (network.gates, gates):
        one.pick(region)
    torch.testing.assert_close(again(image), network.backbone(image), rtol=0, atol=0)


@pytest.mark.parametrize("router", ["features", "downscaled"])
def test_a_routed_backbone(router: str) -> None:
    _, module = make_routed(
        f"mola.router={router}", "mola.gates=stage", "mola.temperature=2", "mola.adapters=3", "mola.top_k=2"
    )
    gated = module.live.eval().gated_backbone()
    layers = read_back(describe_gated(gated.backbone, gated.gates, gated.gating))
    plain = build_backbone("tiny_resnet", channels=1, image_size=(32, 32))
    again = rebuild_routed(plain, layers, (1, 32, 32)).double().eval()
    again.load_state_dict(gated.state_dict())
    image = routed_batch().image
    with torch.no_grad():
        torch.testing.assert_close(again(image), gated(image), rtol=0, atol=0)
    with pytest.raises(UsageError, match="without a gating network"):
        rebuild_routed(plain, layers.with_changes(gating=None), (1, 32, 32))


def test_layers_of_another_network_are_refused() -> None:
    layers = GatedLayers.model_validate(
        {"layers": [{"name": "missing", "form": "full", "ranks": [0], "gate_group": 0}], "gating": None}
    )
    with pytest.raises(UsageError, match="gated layers of another network"):
        rebuild_gated(build_backbone("resnet18", channels=1, image_size=(32, 32)), layers)
