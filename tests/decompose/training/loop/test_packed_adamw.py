"""The optimiser over packed memory against torch's own, parameter by parameter."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from lorkit.decompose.config import ExpertConfig
from lorkit.decompose.experts import Routing, add_experts_, pack_, unpack_
from lorkit.decompose.training.loop.packed_adamw import PackedAdamW

BATCHES = [[0, 0, 1, 1, 2, 2], [0, 0, 0, 2, 2, 2], [0, 0, 1, 1, 2, 2], [1, 1, 1, 1, 1, 1], [0, 0, 1, 1, 2, 2]]


def network(frozen: str = "") -> tuple[nn.Module, Routing]:
    torch.manual_seed(0)
    # without a bias before the norm, whose gradient is rounding errors only, which Adam makes as large as others
    model = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 5, 1))
    routing = add_experts_(model, ("a", "b", "c"), ExpertConfig(rank=2, norm="region"))
    model = model.double().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    for name, parameter in model.named_parameters():
        nn.init.normal_(parameter, std=0.5)
        parameter.requires_grad_(frozen not in name.split("."))
    return model, routing


def torch_adamw(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.AdamW(model.parameters(), lr=0.01, foreach=False)


def packed_adamw(model: nn.Module) -> torch.optim.Optimizer:
    pack_(model)
    return PackedAdamW([{"params": list(model.parameters())}], lr=0.01)


def train(model: nn.Module, routing: Routing, optimizer: torch.optim.Optimizer, batches: list[list[int]]) -> None:
    for seed, ids in enumerate(batches):
        x = torch.randn(6, 3, 5, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
        with routing.use(torch.tensor(ids), sort=True):
            model(x.to(memory_format=torch.channels_last)).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()


@pytest.mark.parametrize("frozen", ["", "b"])
def test_it_equals_torchs_with_regions_that_are_absent_or_frozen(frozen: str) -> None:
    model, routing = network(frozen)
    other, others = copy.deepcopy(model), copy.deepcopy(routing)
    for module in other.modules():
        if hasattr(module, "routing"):
            module.routing = others
    ours, theirs = packed_adamw(model), torch_adamw(other)
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    for count in range(1, len(BATCHES) + 1):
        train(model, routing, ours, BATCHES[count - 1 : count])
        train(other, others, theirs, BATCHES[count - 1 : count])
        for (name, mine), value in zip(model.named_parameters(), other.parameters(), strict=True):
            torch.testing.assert_close(mine, value, rtol=1e-10, atol=1e-12, msg=f"{name} after {count}")
            for key in ("step", "exp_avg", "exp_avg_sq") if theirs.state.get(value) else ():
                torch.testing.assert_close(ours.state[mine][key], theirs.state[value][key], rtol=1e-10, atol=1e-14)
    for name, value in model.named_parameters():
        assert torch.equal(value, before[name]) is (frozen in name.split(".")), name


def test_an_absent_region_does_not_move_at_all() -> None:
    model, routing = network()
    optimizer = packed_adamw(model)
    train(model, routing, optimizer, BATCHES[:1])
    own = {name: value for name, value in model.named_parameters() if "b" in name.split(".")}
    kept = {name: (value.detach().clone(), copy.deepcopy(optimizer.state[value])) for name, value in own.items()}
    train(model, routing, optimizer, [BATCHES[1]])
    assert kept
    for name, (value, state) in kept.items():
        assert torch.equal(own[name], value), name
        assert all(torch.equal(optimizer.state[own[name]][key], state[key]) for key in state), name


def test_regions_present_are_one_entry_per_pack(monkeypatch: pytest.MonkeyPatch) -> None:
    model, routing = network()
    optimizer, counts = packed_adamw(model), []
    update = torch._fused_adamw_

    def counted(values: list[torch.Tensor], *rest: object, **settings: object) -> None:
        counts.append(len(values))
        update(values, *rest, **settings)  # type: ignore[arg-type, call-overload]

    monkeypatch.setattr(torch, "_fused_adamw_", counted)
    train(model, routing, optimizer, [BATCHES[0], BATCHES[1]])
    packs, bases = 6, 3  # two factors of two layers, weight and bias of a norm; weights of two layers and one bias
    assert counts == [packs + bases, 2 * packs + bases]


@pytest.mark.parametrize("first", [torch_adamw, packed_adamw])
@pytest.mark.parametrize("second", [torch_adamw, packed_adamw])
def test_a_state_continues_in_either(first: object, second: object) -> None:
    model, routing = network()
    whole = torch_adamw(model)
    start = copy.deepcopy(model.state_dict())
    train(model, routing, whole, BATCHES)
    expected = {name: value.detach().clone() for name, value in model.named_parameters()}
    model.load_state_dict(start)
    one = first(model)  # type: ignore[operator]
    train(model, routing, one, BATCHES[:2])
    state = copy.deepcopy(one.state_dict())
    unpack_(model)
    other = second(model)  # type: ignore[operator]
    other.load_state_dict(state)
    for seed, ids in list(enumerate(BATCHES))[2:]:
        x = torch.randn(6, 3, 5, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
        with routing.use(torch.tensor(ids), sort=True):
            model(x.to(memory_format=torch.channels_last)).square().mean().backward()
        other.step()
        other.zero_grad()
    # the first norm's running statistics do not enter in training
    for name, value in model.named_parameters():
        torch.testing.assert_close(value, expected[name], rtol=1e-9, atol=1e-11, msg=name)


def test_a_factor_changed_by_a_step_between_forward_and_backward_is_noticed() -> None:
    model, routing = network()
    optimizer = packed_adamw(model)
    train(model, routing, optimizer, BATCHES[:1])
    x = torch.randn(6, 3, 5, 5, dtype=torch.float64)
    with routing.use(torch.tensor(BATCHES[0]), sort=True):
        model(x).sum().backward()
        y = model(x)
        optimizer.step()
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            y.sum().backward()
