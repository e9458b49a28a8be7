"""Every strategy against formulas in float64, and under what a training loop puts around it."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from derivatives import derivatives, forward_mode, twice
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.checkpoint import checkpoint

from lorkit.decompose.config import ExpertConfig
from lorkit.decompose.experts import LowRankExperts, Routing, add_experts_
from lorkit.decompose.experts.strategies import STRATEGIES

LAYERS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "linear": (lambda: nn.Linear(3, 4), (3,)),
    "conv": (lambda: nn.Conv2d(3, 4, 3, stride=2, padding=1), (3, 4, 5)),
    "transposed": (lambda: nn.ConvTranspose2d(3, 4, 2, stride=2), (3, 2, 3)),
}


@pytest.mark.parametrize("ids", [[0, 0, 1, 1], [0, 1, 1, 0, 1]], ids=["equal", "unequal"])
@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_strategy_has_every_derivative(strategy: str, kind: str, ids: list[int]) -> None:
    torch.manual_seed(0)
    make, shape = LAYERS[kind]
    base = make().double()
    routing = Routing(("a", "b"))
    config = ExpertConfig(rank=2, alpha=3, layout="conv")
    layer = LowRankExperts(base, config, routing, "layer")  # type: ignore[arg-type]
    if strategy not in {one.name for one in layer.selector.candidates}:
        pytest.skip("the strategy does not compute this layer")
    if strategy == "grouped" and ids[0] != ids[1]:
        pytest.skip("the strategy takes equal regions alone")
    layer = LowRankExperts(base, ExpertConfig(rank=2, alpha=3, layout="conv", strategy=strategy), routing, "layer")  # type: ignore[arg-type]
    for parameter in layer.parameters():
        nn.init.normal_(parameter, std=0.5)
    rows = torch.tensor(ids)
    x = torch.randn(len(ids), *shape, dtype=torch.float64)

    def ours(x: Tensor) -> Tensor:
        with routing.use(rows):
            return layer(x)

    def formula(x: Tensor) -> Tensor:
        outputs = []
        for n, t in enumerate(ids):
            down, up = layer.down["ab"[t]], layer.up["ab"[t]]
            terms = "ri,ro...->io..." if kind == "transposed" else "or,ri...->oi..."
            first, second = (down, up) if kind == "transposed" else (up, down)
            weight = base.weight + 1.5 * torch.einsum(terms, first, second)
            row = x[n : n + 1]
            if kind == "linear":
                outputs.append(F.linear(row, weight, base.bias))
            elif kind == "conv":
                outputs.append(F.conv2d(row, weight, base.bias, 2, 1))
            else:
                outputs.append(F.conv_transpose2d(row, weight, base.bias, 2))
        return torch.cat(outputs)

    parameters = list(layer.parameters())
    torch.testing.assert_close(twice(ours, x, parameters), twice(formula, x, parameters))
    torch.testing.assert_close(derivatives(ours, x), derivatives(formula, x))
    torch.testing.assert_close(forward_mode(ours, x), forward_mode(formula, x))


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
