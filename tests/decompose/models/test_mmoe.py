"""MMoE: the gate of each sample's region, and a network of one region that is rebuilt by name."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from routed_models import routed_batch
from small_methods import REGIONS

from lorkit.decompose.errors import UsageError
from lorkit.decompose.models.backbones.gated_encoders import Encoders, gated_name
from lorkit.decompose.models.backbones.registry import build_backbone
from lorkit.decompose.models.foundation.model import load_strict
from lorkit.decompose.models.mmoe import MmoeModel
from lorkit.decompose.runs.expert import plain_network

SHUFFLENET = "shufflenet_v2_x1_0"


def make(experts: int) -> MmoeModel:
    torch.manual_seed(0)
    encoders = [build_backbone(SHUFFLENET, channels=1, image_size=(32, 32)) for _ in range(experts)]
    return MmoeModel(Encoders(encoders), REGIONS, (1, 32, 32), mean=(0.4,), std=(0.2,)).double().eval()


def test_a_mixed_batch_goes_through_the_gate_and_head_of_each_sample() -> None:
    live = make(3)
    data = routed_batch()
    with torch.no_grad():
        output = live(data.image, data.region)
        x = live.normalise(data.image)
        for n, region in enumerate(data.region.tolist()):
            name = REGIONS.names[region]
            weights = live.gates[name](x[n].flatten()).softmax(0)
            features = sum(weights[k] * live.backbone[k](x[n : n + 1]) for k in range(3))
            at = output.rows[name].tolist().index(n)
            torch.testing.assert_close(output.features[name][at : at + 1], features)
            torch.testing.assert_close(output.logits[name][at : at + 1], live.heads[name](features))
        assert not torch.equal(live.features(data.image, "a"), live.features(data.image, "b"))


def test_the_network_of_a_region_is_rebuilt_from_its_name() -> None:
    live = make(2)
    backbone = gated_name(SHUFFLENET, 2)
    network = live.deployable("b")
    fresh = plain_network(backbone, channels=1, size=(32, 32), region=REGIONS.get("b")).double().eval()
    load_strict(fresh, network.network.state_dict(), Path("x"))
    image = torch.rand(3, 1, 32, 32, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(fresh(live.normalise(image)), live(image, "b").logits["b"])
        torch.testing.assert_close(network(image), live(image, "b").logits["b"])


def test_soft_gates_of_regions_are_refused() -> None:
    with pytest.raises(UsageError, match="soft gates"):
        make(2).features(routed_batch().image, torch.ones(5, 2))
