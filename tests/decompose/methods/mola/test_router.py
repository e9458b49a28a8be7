"""MoLA-Router's step: its terms, and gradients of every part."""

from __future__ import annotations

import pytest
import torch
from routed_models import make_routed, routed_batch

from lorkit.decompose.config import default_config
from lorkit.decompose.errors import UsageError
from lorkit.decompose.experts import factor_parameters
from lorkit.decompose.methods import get_method
from lorkit.decompose.regions import Region, RegionSet
from lorkit.decompose.tasks.losses import total


@pytest.mark.parametrize("target", ["projected", "logits", "gates"])
@pytest.mark.parametrize("router", ["features", "downscaled", "image"])
def test_all_parts_get_gradients(router: str, target: str) -> None:
    _, module = make_routed(f"mola.router={router}", f"mola.twd.target={target}")
    data = routed_batch()
    with module.live.scope(data.region):
        terms = module(data, None)
        assert set(terms) == {"ce", "twd", "region"}
        total(terms).backward()
    without = [name for name, value in module.named_parameters() if value.grad is None or not value.grad.any()]
    assert not without
    parts = {"live.gating", "live.region_head", "live.heads", "live.backbone"}
    parts |= {"projection"} if target == "projected" else set()
    names = [name for name, _ in module.named_parameters()]
    assert all(any(name.startswith(part) for name in names) for part in parts)


@pytest.mark.parametrize("term", ["ce", "twd", "region"])
def test_each_term_alone_trains_the_router(term: str) -> None:
    _, module = make_routed()
    data = routed_batch()
    terms = module(data, None)
    torch.stack(list(terms[term].values())).sum().backward()
    assert all(value.grad is not None and value.grad.any() for value in module.live.gating.router.parameters())


def test_the_terms_by_region_sum_to_the_loss_of_the_batch() -> None:
    config, module = make_routed("mola.twd.weight=0.3")
    data = routed_batch()
    terms = module(data, None)
    output = module.live.routed(data.image, data.region)
    z = torch.nn.functional.normalize(module.projection(output.gating.scores.flatten(1)), dim=1)
    found = []
    for i in range(5):
        others = torch.stack([z[i] @ z[k] for k in range(5) if k != i]).logsumexp(0)
        found += [z[i] @ z[j] - others for j in range(5) if j != i and data.region[i] == data.region[j]]
    torch.testing.assert_close(
        terms["twd"]["a"] + terms["twd"]["b"], -config.mola.twd.weight * torch.stack(found).mean()
    )
    region = torch.nn.functional.cross_entropy(output.regions, data.region)
    torch.testing.assert_close(terms["region"]["a"] + terms["region"]["b"], region)


def test_terms_without_weight_are_left_out() -> None:
    _, module = make_routed("mola.twd.weight=0", "mola.region_weight=0")
    assert module.projection is None
    assert set(module(routed_batch(), None)) == {"ce"}


def test_every_parameter_is_in_one_optimiser_group() -> None:
    config, module = make_routed()
    groups = module.parameter_groups(config.train)
    grouped = [id(value) for group in groups for value in group["params"]]
    assert sorted(grouped) == sorted(id(value) for value in module.parameters())
    factors = {id(value) for value in factor_parameters(module.live.backbone)}
    assert {id(value) for value in groups[-1]["params"]} == factors
    assert groups[-1]["weight_decay"] == 0.0


def test_only_heads_are_of_single_regions() -> None:
    _, module = make_routed()
    owned = module.region_parameters()
    assert {name for name, values in owned.items() if values} == {"a", "b"}
    heads = {id(value) for value in module.live.heads.parameters()}
    assert {id(value) for values in owned.values() for value in values} == heads


def test_more_gates_than_adapters_are_refused() -> None:
    with pytest.raises(UsageError, match="top_k 3 of 2"):
        make_routed("mola.top_k=3")


def test_windows_of_volumes_are_refused() -> None:
    data = "regions={a: {data: x, spacing: 1}}"
    config = default_config(overrides=[data, "image={size: [16, 16, 16], channels: 1}"], method="mola-router")
    with pytest.raises(UsageError, match="spacing of region 'a' with method mola-router"):
        get_method("mola-router").resolve(config, RegionSet([Region(name="a", classes=("x", "y"))]), 4)
