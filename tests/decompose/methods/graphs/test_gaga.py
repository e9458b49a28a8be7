"""GAGA is the configured RAGFormer without what RAGFormer adds."""

from __future__ import annotations

import pytest
import torch

from lorkit.decompose.config import ImageConfig, default_config
from lorkit.decompose.methods import get_method
from lorkit.decompose.models.backbones.graphs.ragformer import Ragformer
from lorkit.decompose.regions import Region, RegionSet

REGIONS = RegionSet(Region(name=name, task="node", classes=("no", "yes")) for name in ("bank", "shop"))


@pytest.mark.parametrize(("student", "width"), [("ragformer:width=8,heads=2,layers=2", 8), ("node_mlp", 64)])
def test_it_has_the_sizes_of_ragformer_and_none_of_its_parts(student: str, width: int) -> None:
    config = default_config(overrides=[f"student.backbone='{student}'"], method="gaga")
    config = config.model_copy(update={"image": ImageConfig.of_nodes((4, 3, 2, 4))})
    module = get_method("gaga").build(config, REGIONS, None)
    network = module.live.backbone
    assert isinstance(network, Ragformer)
    assert (network.topology, network.fusion, {layer.mix for layer in network.layers}) == (None, None, {None})
    assert network.feature_dim == 3 * width
    x = torch.rand(5, 4, 3, 2, 4)
    changed = x.clone()
    changed[:, -1] += 1  # propagated features
    network.eval()
    assert torch.equal(network(x), network(changed))
