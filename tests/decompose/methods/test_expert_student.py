"""What LoRKD and MoLA-Grad share: which layers and norms have experts."""

from __future__ import annotations

import pytest
from small_methods import REGIONS

from lorkit.decompose.config import default_config
from lorkit.decompose.experts import expert_layers
from lorkit.decompose.methods import get_method

DATA = "regions={a: {data: x}, b: {data: x}}"


@pytest.mark.parametrize(("method", "section"), [("lorkd", "lorkd"), ("mola-grad", "mola"), ("mola-router", "mola")])
def test_narrow_layers_can_be_left_out(method: str, section: str) -> None:
    config = default_config(overrides=[DATA, "image.size=32", f"{section}.select_min_channels=100"])
    backbone = get_method(method).network(config, REGIONS).backbone
    layers = expert_layers(backbone)
    assert layers
    assert all(layer.base.in_channels >= 100 for layer in layers.values())


@pytest.mark.parametrize(("method", "section"), [("lorkd", "lorkd"), ("mola-grad", "mola")])
def test_norms_of_few_values_stay_shared_and_are_named(method: str, section: str) -> None:
    config = default_config(overrides=[DATA, "image.size=32", f"{section}.norm=region"])
    found = get_method(method).resolve(config, REGIONS, 2)
    shared = getattr(found, section).shared_norms
    assert shared
    assert all(name.startswith("layer") for name in shared)
    (notice,) = [text for text in get_method(method).notices(found) if "batch norm" in text]
    assert f"{section}.shared_norms" in notice
    assert get_method(method).resolve(config, REGIONS, 1000) == config.model_copy(
        update={section: getattr(config, section).model_copy(update={"shared_norms": ()})}
    )
