"""MoLA-Grad: one pass for a mixed batch, and gradients separated by region."""

from __future__ import annotations

import pytest
import torch
from small_methods import REGIONS

from lorkit.decompose.config import default_config
from lorkit.decompose.data.batches.loader import Batch
from lorkit.decompose.experts import factor_parameters
from lorkit.decompose.methods import get_method
from lorkit.decompose.methods.mola.grad import AdaptedModule
from lorkit.decompose.tasks.losses import total

DATA = "regions={a: {data: x}, b: {data: x}}"


def make(*settings: str, backbone: str = "shufflenet_v2_x1_0") -> AdaptedModule:
    config = default_config(overrides=[DATA, "image.size=32", f"student.backbone={backbone}", *settings])
    torch.manual_seed(0)
    module = get_method("mola-grad").build(config, REGIONS, None).double()
    assert isinstance(module, AdaptedModule)
    with torch.no_grad():
        for value in factor_parameters(module.live):
            value.normal_(0, 0.2)
    return module


def batch(regions: tuple[int, ...] = (0, 1, 0, 1, 1)) -> Batch:
    generator = torch.Generator().manual_seed(3)
    image = torch.rand(len(regions), 1, 32, 32, generator=generator, dtype=torch.float64)
    region = torch.tensor(regions)
    return Batch(image=image, label=torch.arange(len(regions)) % 2, region=region, sample=torch.arange(len(regions)))


@pytest.mark.parametrize("layout", ["conv", "reshape"])
def test_one_pass_of_a_mixed_batch_is_the_merged_network_of_each_sample(layout: str) -> None:
    module = make(f"mola.layout={layout}").eval()
    data = batch()
    with torch.no_grad():
        output = module.live(data.image, data.region)
        for name, rows in output.rows.items():
            plain = module.live.deployable(name).double()
            torch.testing.assert_close(output.logits[name], plain(data.image[rows]))


@pytest.mark.parametrize("backbone", ["shufflenet_v2_x1_0", "resnet18", "vit_tiny"])
def test_adapters_and_heads_learn_from_their_region_and_the_backbone_from_all(backbone: str) -> None:
    module = make(backbone=backbone)
    data = batch((0, 0, 0))
    with module.live.scope(data.region):
        terms = module(data, None)
        assert set(terms) == {"ce"}
        total(terms).backward()
    owned = module.region_parameters()
    assert all(value.grad is not None and value.grad.any() for value in owned["a"])
    assert not any(value.grad is not None and value.grad.any() for value in owned["b"])
    of_regions = {id(value) for values in owned.values() for value in values}
    shared = [value for value in module.parameters() if id(value) not in of_regions]
    assert shared
    assert all(value.grad is not None and value.grad.any() for value in shared)


def test_the_loss_is_the_mean_cross_entropy_of_the_batch() -> None:
    module = make().eval()
    data = batch()
    output = module.live(data.image, data.region)
    expected = torch.zeros((), dtype=torch.float64)
    for name, rows in output.rows.items():
        logs = torch.log_softmax(output.logits[name], 1)
        expected = expected - logs[torch.arange(len(rows)), data.label[rows]].sum() / 5
    torch.testing.assert_close(total(module(data, None)), expected)


def test_factors_have_a_group_of_their_own_without_decay() -> None:
    config = default_config(overrides=[DATA, "image.size=32", "student.backbone=shufflenet_v2_x1_0"])
    module = make()
    groups = module.parameter_groups(config.train)
    assert {id(value) for value in groups[-1]["params"]} == {id(value) for value in factor_parameters(module.live)}
    assert groups[-1]["weight_decay"] == 0.0
    grouped = [id(value) for group in groups for value in group["params"]]
    assert sorted(grouped) == sorted(id(value) for value in module.parameters())


def test_settings_without_effect_are_named() -> None:
    settings = ("mola.adapters=3", "mola.twd.weight=0", "mola.norm=region", "mola.ranks={a: 2}")
    config = default_config(overrides=[DATA, *settings])
    (notice,) = get_method("mola-grad").notices(config)
    assert notice == "mola.adapters, mola.twd: no effect on method mola-grad"
    norm, ranks = get_method("mola-router").notices(config)
    assert "mola.norm region has no effect on method mola-router" in norm
    assert "mola.ranks" in ranks
    plain = default_config(overrides=[DATA])
    assert get_method("mola-grad").notices(plain) == get_method("mola-router").notices(plain) == []
