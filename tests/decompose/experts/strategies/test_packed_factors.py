"""Packed factors: the same numbers as factors apart, through every way of computing a layer."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from lorkit.decompose.config import ExpertConfig
from lorkit.decompose.experts import Routing, add_experts_, expert_layers, pack_, packed, unpack_
from lorkit.decompose.experts.layers import LowRankExperts
from lorkit.decompose.experts.strategies import STRATEGIES

REGIONS = ("chest", "brain", "knee")
IDS = torch.tensor([0, 0, 1, 1, 2, 2])


def network(layout: str = "conv", **settings: object) -> tuple[nn.Module, Routing]:
    """Return convolutions of several shapes, a linear layer, and their experts with factors that are not zero."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(4, 8, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(8, 8, 1),
        nn.ConvTranspose2d(8, 4, 2, stride=2),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(16, 5),
    ).double()
    routing = add_experts_(model, REGIONS, ExpertConfig(rank=2, layout=layout, **settings))  # type: ignore[arg-type]
    for name, parameter in model.named_parameters():
        if ".up." in name:
            nn.init.normal_(parameter, std=0.1)
    return model, routing


def gradients(model: nn.Module, routing: Routing, ids: Tensor = IDS) -> dict[str, Tensor]:
    """Return every parameter's gradient of a fixed loss, and the loss."""
    model.zero_grad(set_to_none=True)
    x = torch.randn(len(ids), 4, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    with routing.use(ids, sort=True):
        loss = model(x).square().sum()
        loss.backward()
    found = {name: one.grad.clone() for name, one in model.named_parameters() if one.grad is not None}
    return found | {"loss": loss.detach()}


WAYS = [("conv", name) for name in ("auto", *STRATEGIES)] + [("reshape", "merged")]


@pytest.mark.parametrize(("layout", "strategy"), WAYS)
@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
def test_packed_factors_compute_what_factors_apart_do(layout: str, strategy: str, memory: torch.memory_format) -> None:
    model, routing = network(layout, strategies={"0": strategy, "2": strategy})
    model.to(memory_format=memory)  # type: ignore[call-overload]
    apart = gradients(model, routing)
    assert len(pack_(model)) == 4
    assert all(used(layer) for layer in packs(model))
    together = gradients(model, routing)
    assert together.keys() == apart.keys()
    for name, value in apart.items():
        torch.testing.assert_close(together[name], value, rtol=1e-12, atol=1e-12)


def test_soft_gates_and_regions_that_a_batch_lacks_compute_the_same() -> None:
    model, routing = network()
    lacking = torch.tensor([2, 0, 2, 0])
    gates = torch.rand(6, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    apart = [gradients(model, routing, lacking), gradients(model, routing, gates)]
    pack_(model)
    together = [gradients(model, routing, lacking), gradients(model, routing, gates)]
    assert not any(".brain" in name for name in together[0])
    for one, other in zip(apart, together, strict=True):
        assert one.keys() == other.keys()
        for name, value in one.items():
            torch.testing.assert_close(other[name], value, rtol=1e-12, atol=1e-12)


def test_a_gradient_is_taken_as_it_comes_in_the_order_of_its_parameter() -> None:
    model, routing = network()
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    pack_(model)
    gradients(model, routing)
    for name, parameter in model.named_parameters():
        if ".down." in name or ".up." in name:
            assert parameter.grad is not None
            assert parameter.grad.stride() == parameter.stride(), name


def test_packing_and_unpacking_keep_values_identities_and_state() -> None:
    model, _ = network()
    before = {name: (id(one), one.detach().clone()) for name, one in model.named_parameters()}
    with packed(model):
        during = {name: (id(one), one.detach().clone()) for name, one in model.named_parameters()}
        with torch.no_grad():
            model[0].down["brain"].add_(0.0)
    after = {name: (id(one), one.detach().clone()) for name, one in model.named_parameters()}
    for name, (identity, value) in before.items():
        for other in (during, after):
            assert other[name][0] == identity
            assert torch.equal(other[name][1], value)
    assert not any(packs(model))
    storages = [one.untyped_storage().data_ptr() for one in model.parameters()]
    assert len(set(storages)) == len(storages), "factors share memory after unpacking"


def test_a_step_of_the_optimiser_reaches_the_stack() -> None:
    trained = []
    for pack in (False, True):
        model, routing = network()
        if pack:
            pack_(model)
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, fused=True)
        for _ in range(3):
            gradients(model, routing)
            optimizer.step()
        trained.append({name: one.detach() for name, one in model.named_parameters()})
    for name, value in trained[0].items():
        torch.testing.assert_close(trained[1][name], value, rtol=1e-9, atol=1e-9)


def test_factors_that_were_moved_replaced_or_copied_are_stacked_anew() -> None:
    model, routing = network()
    pack_(model)
    expected = gradients(model, routing)
    twin = copy.deepcopy(model)
    assert not any(packs(twin)), "a copy must not compute with the original's buffer"
    make, arguments = packs(model)[0]._packs[0].__reduce__()  # type: ignore[union-attr]
    assert make(*arguments) is None, "nor a pickle with it"
    model.float().double()  # away and back: no longer in the buffer
    assert not any(used(layer) for layer in packs(model))
    own = next(module.routing for module in twin.modules() if hasattr(module, "routing"))
    for other, scope in ((model, routing), (twin, own)):
        torch.testing.assert_close(gradients(other, scope)["loss"], expected["loss"], rtol=1e-5, atol=1e-5)
    layer = twin[0]
    assert layer.pack_()
    layer.down["brain"] = nn.Parameter(torch.zeros_like(layer.down["brain"]))
    assert not used(layer)


def test_a_factor_changed_between_forward_and_backward_is_noticed() -> None:
    model, routing = network(strategies={"0": "taps"})
    pack_(model)
    x = torch.randn(6, 4, 6, 6, dtype=torch.float64)
    with routing.use(IDS, sort=True):
        loss = model(x).square().sum()
        with torch.no_grad():
            model[0].down["brain"].mul_(2)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            loss.backward()


def test_second_derivatives_and_function_transforms_see_through_packs() -> None:
    found = []
    for pack in (False, True):
        model, routing = network(strategies={"*": "auto", "0": "taps"})
        if pack:
            assert pack_(model)
        x = torch.randn(6, 4, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1), requires_grad=True)
        with routing.use(IDS, sort=True):
            loss = model(x).square().sum()
            (slope,) = torch.autograd.grad(loss, x, create_graph=True)
            slope.square().sum().backward()
            first = torch.func.grad(lambda image, model=model: model(image).square().sum())(x.detach())
        found.append((first, model[0].down["brain"].grad, model[0].up["knee"].grad))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(other, one, rtol=1e-10, atol=1e-10)


def test_ranks_that_differ_and_single_regions_stay_apart() -> None:
    model, _ = network(ranks={"chest": 3})
    assert pack_(model) == []
    alone = nn.Sequential(nn.Linear(3, 3))
    add_experts_(alone, ["chest"], ExpertConfig(rank=2))
    assert pack_(alone) == []
    unpack_(alone)


def packs(model: nn.Module) -> list[LowRankExperts]:
    """Return the layers that have packs."""
    layers = expert_layers(model).values()
    return [one for one in layers if isinstance(one, LowRankExperts) and all(one._packs)]


def used(layer: LowRankExperts) -> bool:
    """Tell whether a layer's forward gets its stacks without a copy."""
    work = layer._inputs(layer.routing.regions, (1,) * len(layer.routing.regions))
    pairs = ((work.packed_downs, work.downs), (work.packed_ups, work.ups))
    return all(pack is not None and pack.stack(factors) is not None for pack, factors in pairs)
