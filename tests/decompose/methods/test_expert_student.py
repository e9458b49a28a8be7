"""What LoRKD and MoLA-Grad share: which layers and norms have experts."""

from __future__ import annotations

import pytest
import torch
from small_methods import REGIONS
from torch import nn

from lorkit.decompose.config import ExpertConfig, default_config
from lorkit.decompose.errors import UsageError
from lorkit.decompose.experts import LowRankExperts, expert_layers
from lorkit.decompose.methods import get_method
from lorkit.decompose.models.backbones.unets import UNETS
from lorkit.decompose.regions import Region, RegionSet

DATA = "regions={a: {data: x}, b: {data: x}}"
MASKS = RegionSet([Region(name=name, classes=("one",), task="segmentation") for name in "ab"])


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


@pytest.mark.parametrize("name", UNETS)
def test_decoders_have_their_own_ranks_and_transposed_convolutions_can_be_left_out(name: str) -> None:
    small = (f"student.backbone={name}", "image.size=[64, 64, 64]", "image.channels=1")
    own = ("lorkd.rank=4", "lorkd.ranks={b: 7}", "lorkd.decoder_rank_factor=0.1", "lorkd.transposed=false")
    with torch.device("meta"):
        model = get_method("lorkd").network(default_config(overrides=[DATA, *small, *own]), MASKS)
    layers = expert_layers(model.backbone)
    assert not any(isinstance(layer.base, nn.ConvTranspose3d) for layer in layers.values())
    left_out = {name for name, reason in model.routing.skipped if "transposed: false" in reason}
    assert left_out == {at for at, module in model.backbone.named_modules() if type(module) is nn.ConvTranspose3d}
    decoder = tuple(f"{one}." for one in UNETS[name].decoder)
    ranks = set()
    for at, layer in layers.items():
        assert isinstance(layer, LowRankExperts)
        ranks.add((at.startswith(decoder), *(down.shape[0] for down in layer.down.values())))
    assert ranks == {(False, 4, 7), (True, 1, 1)}  # round(0.4) is 0, which is raised to 1


@pytest.mark.parametrize("layout", ["conv", "reshape"])
def test_experts_of_encoder_and_decoder_are_extracted_exactly(layout: str) -> None:
    torch.manual_seed(0)
    own = ("student.backbone=unet", "image.size=[16, 16, 16]", "image.channels=1", f"lorkd.layout={layout}")
    config = default_config(overrides=[DATA, *own, "lorkd.decoder_rank_factor=0.5"])
    model = get_method("lorkd").network(config, MASKS).double().eval()
    for layer in expert_layers(model.backbone).values():
        assert isinstance(layer, LowRankExperts)
        for up in layer.up.values():
            nn.init.normal_(up, std=0.3)
    image = torch.rand(1, 1, 16, 16, 16, dtype=torch.float64)
    with torch.inference_mode():
        expected = model(image, "b").logits["b"]
        torch.testing.assert_close(model.deployable("b").double()(image), expected, rtol=1e-10, atol=1e-11)


def test_ranks_of_a_decoder_are_rounded_and_at_least_one() -> None:
    settings = ExpertConfig(rank=8, ranks={"a": 3}, decoder_rank_factor=0.5)
    assert (settings.of_decoder().rank_of("b"), settings.of_decoder().rank_of("a")) == (4, 2)
    assert settings.of_decoder().scale_of("b") == 4.0
    assert ExpertConfig(rank=1, decoder_rank_factor=0.01).of_decoder().rank == 1
    assert ExpertConfig().of_decoder() == ExpertConfig()


@pytest.mark.parametrize(("method", "section"), [("lorkd", "lorkd"), ("mola-grad", "mola"), ("mola-router", "mola")])
def test_ranks_of_a_decoder_need_one(method: str, section: str) -> None:
    def resolve(student: str, regions: RegionSet) -> None:
        settings = (f"student.backbone={student}", "image.size=32", f"{section}.decoder_rank_factor=0.5")
        get_method(method).resolve(default_config(overrides=[DATA, *settings]), regions, 1000)

    resolve("unet", MASKS)
    with pytest.raises(UsageError, match="for resnet18, which has no decoder"):
        resolve("resnet18", MASKS)
    with pytest.raises(UsageError, match="for unet without a region of masks, which has no decoder"):
        resolve("unet", REGIONS)


def test_mixed_adapters_have_ranks_of_the_decoder_too() -> None:
    settings = ("student.backbone=unet", "image.size=32", "mola.decoder_rank_factor=0.5", "mola.rank=4")
    config = default_config(overrides=[DATA, *settings])
    layers = expert_layers(get_method("mola-router").network(config, MASKS).backbone)
    ranks = {name.startswith(UNETS["unet"].decoder): layer.config.rank for name, layer in layers.items()}
    assert ranks == {False: 4, True: 2}
