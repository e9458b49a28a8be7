from __future__ import annotations

import torch
from small_methods import REGIONS

from lorkit.decompose.config import ImageConfig, default_config
from lorkit.decompose.methods import get_method
from lorkit.decompose.methods.baselines.students import shared_network
from lorkit.decompose.regions import Region, RegionSet


def test_stl_trains_each_region_by_itself() -> None:
    assert [phase.names for phase in get_method("stl").phases(REGIONS)] == [("a",), ("b",)]


def test_networks_are_made_for_their_image_and_their_task() -> None:
    config = default_config(overrides=["regions={a: {data: x}}", "image={size: 16, channels: 3}"])
    own = shared_network(config, "vit_tiny", REGIONS)
    assert {name: head.out_features for name, head in own.heads.items()} == {"a": 2, "b": 3}
    assert own(torch.rand(2, 3, 16, 16), "b").logits["b"].shape == (2, 3)
    other = shared_network(config, "vit_tiny", REGIONS, image=ImageConfig(size=(32, 32), channels=1))
    assert other(torch.rand(2, 1, 32, 32), "a").logits["a"].shape == (2, 2)
    maps = RegionSet([Region(name="a", task="segmentation", classes=("vessel",))])
    dense = shared_network(config, "resnet18", maps)
    assert dense(torch.rand(2, 3, 16, 16), "a").logits["a"].shape == (2, 2, 16, 16)
