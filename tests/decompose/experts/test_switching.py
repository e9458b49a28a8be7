from __future__ import annotations

import copy
import random

import pytest
import torch
from torch import nn

from lorkit.decompose.errors import UsageError
from lorkit.decompose.experts import ExpertConfig, Routing, add_experts_, extract, factor_parameters, fuse_, unfuse_

REGIONS = ["brain", "chest", "knee"]


def live(layout: str = "conv", dtype: torch.dtype = torch.float32) -> tuple[nn.Sequential, Routing]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 1)).to(dtype)
    routing = add_experts_(model, REGIONS, ExpertConfig(rank=2, layout=layout))  # type: ignore[arg-type]
    for parameter in factor_parameters(model):
        nn.init.normal_(parameter)
    return model.eval(), routing


@pytest.mark.parametrize("layout", ["conv", "reshape"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_thousand_switches_leave_every_bit_in_place(layout: str, dtype: torch.dtype) -> None:
    model, _ = live(layout, dtype)
    before = copy.deepcopy(model.state_dict())
    choose = random.Random(0)
    first: dict[str, torch.Tensor] = {}
    for _ in range(1000):
        region = choose.choice(REGIONS)
        fuse_(model, region)
        fused = model[0].base.weight.detach().clone()
        assert torch.equal(first.setdefault(region, fused), fused)
    unfuse_(model)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


def test_a_fused_model_computes_what_the_extracted_one_does() -> None:
    model, routing = live()
    x = torch.randn(2, 3, 6, 6)
    for region in REGIONS:
        fuse_(model, region)
        with torch.no_grad():
            assert torch.equal(model(x), extract(model, region)(x))
            with routing.use(region):
                model(x)
            with routing.use(torch.full((2,), REGIONS.index(region))):
                model(x)


def test_switching_a_live_model_runs_each_expert() -> None:
    model, routing = live()
    x = torch.randn(2, 3, 6, 6)
    for region in REGIONS:
        routing.activate(region)
        with torch.no_grad():
            torch.testing.assert_close(model(x), extract(model, region)(x), rtol=1e-4, atol=1e-4)


def test_a_fused_model_refuses_to_save_load_train_and_run_another_region() -> None:
    model, routing = live()
    weights = copy.deepcopy(model.state_dict())
    fuse_(model, "brain")
    x = torch.randn(3, 3, 6, 6)
    with pytest.raises(UsageError, match=r"fused with region 'brain'.*a live model to save"):
        model.state_dict()
    with pytest.raises(UsageError, match="a live model to load"):
        model.load_state_dict(weights)
    with routing.use("chest"), pytest.raises(UsageError, match="the batch asks for others"):
        model(x)
    with routing.use(torch.tensor([0, 0, 1])), pytest.raises(UsageError, match="the batch asks for others"):
        model(x)
    with routing.without_experts(), pytest.raises(UsageError, match="the batch asks for others"):
        model(x)
    model.train()
    with pytest.raises(UsageError, match="in training mode"):
        model(x)
    unfuse_(model)
    model.load_state_dict(weights)


def test_unfuse_clears_the_active_region_and_may_be_repeated() -> None:
    model, routing = live()
    fuse_(model, "brain")
    assert routing.active == "brain"
    unfuse_(model)
    unfuse_(model)
    assert routing.active is None


def test_a_copy_of_a_fused_model_is_fused_and_independent() -> None:
    model, _ = live()
    fuse_(model, "brain")
    twin = copy.deepcopy(model)
    unfuse_(model)
    assert twin[0].fused == "brain"
    unfuse_(twin)
    assert torch.equal(twin[0].base.weight, model[0].base.weight)


def test_unknown_regions_and_plain_models_are_refused() -> None:
    model, _ = live()
    with pytest.raises(UsageError, match="unknown region 'liver'"):
        fuse_(model, "liver")
    assert model[0].fused is None
    with pytest.raises(UsageError, match="without experts"):
        fuse_(nn.Sequential(nn.Linear(2, 2)), "brain")
