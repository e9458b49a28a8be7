"""Every strategy under what a training loop puts around it: compilation, checkpointing, averaging, accumulation."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.checkpoint import checkpoint

from lorkit.decompose.experts import ExpertConfig, Routing, add_experts_
from lorkit.decompose.experts.strategies import STRATEGIES

IDS = torch.tensor([0, 0, 1, 1, 2, 2])


def network(strategy: str, norm: str = "region") -> tuple[nn.Module, Routing]:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 4, 1, stride=2),
        nn.AdaptiveAvgPool2d(1),
    )
    routing = add_experts_(model, ["a", "b", "c"], ExpertConfig(rank=2, strategy=strategy, norm=norm))  # type: ignore[arg-type]
    for name, parameter in model.named_parameters():
        if ".up." in name:
            nn.init.normal_(parameter, std=0.3)
    return model.to(memory_format=torch.channels_last), routing  # type: ignore[call-overload]


def images(count: int = 6) -> Tensor:
    return torch.randn(count, 3, 6, 6, generator=torch.Generator().manual_seed(1)).to(memory_format=torch.channels_last)


def gradients(
    model: nn.Module, routing: Routing, run: Callable[[Tensor], Tensor], ids: Tensor = IDS
) -> dict[str, Tensor | None]:
    model.zero_grad()
    with routing.use(ids, sort=True):
        run(images()).square().sum().backward()
    return {name: None if p.grad is None else p.grad.clone() for name, p in model.named_parameters()}


@pytest.fixture(params=STRATEGIES)
def strategy(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.filterwarnings("ignore")  # the compiler's own, about what it traces
def test_compiled_it_computes_the_same(strategy: str) -> None:
    model, routing = network(strategy)
    twin = copy.deepcopy(model)
    own = next(module.routing for module in twin.modules() if hasattr(module, "routing"))
    expected = gradients(model, routing, model)
    torch._dynamo.reset()
    compiled = torch.compile(twin, backend="aot_eager")
    torch.testing.assert_close(gradients(twin, own, compiled), expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(twin.state_dict(), model.state_dict())  # running statistics moved alike


def test_checkpointed_it_computes_the_same(strategy: str) -> None:
    model, routing = network(strategy, norm="shared")
    expected = gradients(model, routing, model)
    found = gradients(model, routing, lambda x: checkpoint(model, x, use_reentrant=False))
    torch.testing.assert_close(found, expected)


def test_accumulated_gradients_are_those_of_the_whole_batch(strategy: str) -> None:
    model, routing = network(strategy, norm="shared")
    model.eval()  # a shared norm in training sees other statistics in half a batch
    expected = gradients(model, routing, model)
    model.zero_grad()
    for rows in (torch.tensor([0, 2, 4]), torch.tensor([1, 3, 5])):
        with routing.use(IDS[rows], sort=True):
            model(images()[rows]).square().sum().backward()
    found = {name: parameter.grad for name, parameter in model.named_parameters()}
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_averaged_weights_run_as_any_others(strategy: str) -> None:
    model, routing = network(strategy)
    averaged = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.5))
    averaged.update_parameters(model)
    own = next(module.routing for module in averaged.modules() if hasattr(module, "routing"))
    assert own is not routing
    with own.use(IDS, sort=True), routing.use(IDS, sort=True):
        torch.testing.assert_close(averaged.eval()(images()), model.eval()(images()))
