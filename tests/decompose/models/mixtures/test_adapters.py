"""A base with the tensors of a region as inputs, against the merged network of the region."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from settled_models import images, settled

from lorkit.decompose.config import default_config
from lorkit.decompose.errors import UsageError
from lorkit.decompose.methods import TrainingModule, get_method
from lorkit.decompose.models.deployed_mixtures import region_id_network
from lorkit.decompose.models.mixtures.adapters import AdapterNetwork
from lorkit.decompose.models.regional import RegionalModel
from lorkit.decompose.regions import Region, RegionSet


def check(model: RegionalModel, side: int) -> AdapterNetwork:
    network = AdapterNetwork(region_id_network(model, (1, side, side)))
    assert network.input_names[0] == "image"
    image = images(3, side)
    with torch.no_grad():
        for name, tensors in network.adapters.items():
            assert tuple(tensors) == network.input_names[1:]
            found, expected = network(image, *tensors.values()), model.deployable(name)(image)
            torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
    return network


@pytest.mark.parametrize(
    ("backbone", "settings"),
    [
        ("tiny", ("lorkd.ranks.a=3",)),  # the other region has rank 2
        ("tiny", ("lorkd.layout=reshape", "lorkd.ranks.b=1")),
        ("tiny_depthwise", ("lorkd.depthwise=true", "lorkd.norm=shared")),
        ("tiny_vit", ()),
        ("tiny_resnet", ("lorkd.norm=statistics",)),
    ],
)
def test_every_region_equals_its_merged_network(
    tiny_module: Callable[..., TrainingModule], backbone: str, settings: tuple[str, ...]
) -> None:
    model = settled(tiny_module("lorkd", *settings, backbone=backbone).live)
    assert isinstance(model, RegionalModel)
    network = check(model, 16)
    by_name = {
        name: {key: tuple(one.shape) for key, one in tensors.items()} for name, tensors in network.adapters.items()
    }
    a, b = ({key: shape for key, shape in one.items() if not key.startswith("head.")} for one in by_name.values())
    assert a == b
    assert by_name["a"]["head.weight"] != by_name["b"]["head.weight"]  # of two and of three classes


@pytest.mark.parametrize("backbone", ["tiny_resnet", "unet"])
def test_regions_with_masks_are_one_base_and_mixed_ones_are_not(tiny: None, backbone: str) -> None:
    settings = ["regions={a: {data: x}, b: {data: x}}", "image.size=32", f"student.backbone={backbone}", "lorkd.rank=2"]
    config = default_config(overrides=settings, method="lorkd")
    masks = RegionSet(
        Region(name=name, classes=("s",) * count, task="segmentation") for name, count in (("a", 1), ("b", 1))
    )
    model = settled(get_method("lorkd").build(config, masks, None).live)
    assert isinstance(model, RegionalModel)
    check(model, 32)
    mixed = RegionSet([masks[0], Region(name="b", classes=("x", "y"))])
    model = settled(get_method("lorkd").build(config, mixed, None).live)
    assert isinstance(model, RegionalModel)
    with pytest.raises(UsageError, match="one base for regions with masks and others"):
        AdapterNetwork(region_id_network(model, (1, 32, 32)))
