"""The backward seam: each balancer against torchjd's aggregator on a Jacobian that is computed here."""

import importlib.util
from collections.abc import Callable

import pytest
import torch
from torch import nn

from lorkit.decompose.config import TrainConfig, default_config
from lorkit.decompose.data.batches.loader import Batch
from lorkit.decompose.errors import DataError, MissingRuntimeError, UsageError
from lorkit.decompose.methods import TrainingModule, get_method
from lorkit.decompose.methods.baselines.balancers import check_balancer
from lorkit.decompose.regions import Region, RegionSet
from lorkit.decompose.tasks.losses import total
from lorkit.decompose.training.gradients.balancing import (
    BalancedBackward,
    SumBackward,
    aggregator_of,
    build_backward,
    shared_parameters,
)
from lorkit.decompose.training.loop.devices import launch

Make = Callable[..., TrainingModule]
MakeBatch = Callable[..., Batch]
BALANCERS = ("pcgrad", "cagrad", "aligned-mtl", "upgrad", "nash-mtl")
INSTALLED = all(importlib.util.find_spec(name) for name in ("torchjd", "cvxpy", "ecos", "quadprog"))
needs_torchjd = pytest.mark.skipif(not INSTALLED, reason="the extra 'balancers' is not installed")


class WithProjector(TrainingModule):
    """A module with a parameter that all regions use and that is no part of the backbone."""

    def __init__(self, inner: TrainingModule) -> None:
        super().__init__(inner.live, TrainConfig())
        self.balancer = inner.balancer
        self.projector = nn.Linear(8, 8)

    def forward(self, batch: Batch, teacher: object) -> dict[str, dict[str, torch.Tensor]]:
        output = self.live(batch.image, batch.region)
        pulled = {name: (self.projector(one) - 1).square().mean(1) for name, one in output.features.items()}
        kd = {name: values.sum() / len(batch.label) for name, values in pulled.items()}
        return {"ce": self.task_loss(output, batch), "kd": kd}


def by_hand(
    module: TrainingModule, batch: Batch, name: str, *, bf16: bool = False
) -> tuple[list[torch.Tensor], dict[int, torch.Tensor]]:
    """Return the Jacobian's rows over the shared parameters, and the summed gradient of every other one."""
    shared = shared_parameters(module)
    others = [value for value in module.parameters() if id(value) not in {id(one) for one in shared}]
    rows, sums = [], {id(value): torch.zeros_like(value) for value in others}
    for region in ("a", "b"):
        with module.live.scope(batch.region), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            terms = module(batch, None)
            loss = sum(term[region] for term in terms.values())
        found = torch.autograd.grad(loss, [*shared, *others], allow_unused=True)
        rows.append(torch.cat([value.flatten() for value in found[: len(shared)]]))  # type: ignore[union-attr]
        for value, gradient in zip(others, found[len(shared) :], strict=True):
            if gradient is not None:
                sums[id(value)] += gradient
    return rows, sums


@needs_torchjd
@pytest.mark.filterwarnings("ignore:.*not DPP.*")
@pytest.mark.parametrize("method", ["lorkd", "mtl"])
@pytest.mark.parametrize("name", BALANCERS)
def test_shared_weights_get_the_aggregation_and_a_region_its_own_gradient(
    tiny_module: Make, make_batch: MakeBatch, method: str, name: str
) -> None:
    module = WithProjector(tiny_module(method, f"train.balancer={name}")).train()
    batch = make_batch(6, 6)
    rows, sums = by_hand(module, batch, name)
    expected = aggregator_of(name, 2)(torch.stack(rows))
    if name in ("cagrad", "aligned-mtl", "upgrad"):  # torchjd weighs the mean of the rows, not their sum
        expected = expected * 2
    seam = build_backward(module, launch(TrainConfig(accelerator="cpu")))
    assert isinstance(seam, BalancedBackward)
    with module.live.scope(batch.region):
        seam.add(module(batch, None))
    seam.finish()
    shared = shared_parameters(module)
    assert shared
    found = torch.cat([value.grad.flatten() for value in shared])  # type: ignore[union-attr]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)
    assert not hasattr(shared[0], "jac")
    for value in module.parameters():
        if id(value) in sums:
            torch.testing.assert_close(value.grad, sums[id(value)], rtol=1e-5, atol=1e-7)


@needs_torchjd
def test_rows_without_conflict_give_the_sum() -> None:
    rows = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    for name in ("pcgrad", "upgrad", "aligned-mtl"):
        scale = 1 if name == "pcgrad" else 2
        torch.testing.assert_close(aggregator_of(name, 2)(rows) * scale, rows.sum(0), rtol=1e-3, atol=1e-3)


@needs_torchjd
@pytest.mark.parametrize("name", ["pcgrad", "upgrad"])
def test_bf16_micro_batches_are_aggregated_once(tiny_module: Make, make_batch: MakeBatch, name: str) -> None:
    module = tiny_module("lorkd", f"train.balancer={name}", backbone="tiny_groups").train()
    fabric = launch(TrainConfig(accelerator="cpu", precision="bf16"))
    first, second = make_batch(4, 4, seed=1), make_batch(4, 4, seed=2)
    rows = [torch.zeros(())] * 2
    for batch in (first, second):
        rows = [a + b for a, b in zip(rows, by_hand(module, batch, name, bf16=True)[0], strict=True)]
    expected = aggregator_of(name, 2)(torch.stack(rows)) * (1 if name == "pcgrad" else 2)
    seam = build_backward(module, fabric)
    for batch in (first, second):
        with module.live.scope(batch.region), fabric.autocast():
            seam.add(module(batch, None))
    seam.finish()
    found = torch.cat([value.grad.flatten() for value in shared_parameters(module)])  # type: ignore[union-attr]
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5)


def balanced(name: str, rows: torch.Tensor) -> torch.Tensor:
    """Send rows through the seam as the gradients of losses that are linear in one shared weight."""
    weight = nn.Parameter(torch.zeros(rows.shape[1]))
    seam = BalancedBackward(launch(TrainConfig(accelerator="cpu")), name, [weight])
    seam.add({"ce": {f"r{index}": (row * weight).sum() for index, row in enumerate(rows)}})
    torch.manual_seed(0)  # PCGrad draws an order
    seam.finish()
    assert weight.grad is not None
    assert not hasattr(weight, "jac")
    return weight.grad


@needs_torchjd
@pytest.mark.parametrize("size", [1e-5, 1e-9, 1e4])
@pytest.mark.parametrize("name", ["pcgrad", "cagrad", "aligned-mtl", "upgrad"])
def test_the_direction_does_not_depend_on_the_size_of_the_gradients(name: str, size: float) -> None:
    rows = torch.tensor([[1.0, 0.2, 0.0], [-0.9, 0.7, 0.1]])
    expected = balanced(name, rows)
    assert expected.norm() > 0.1
    torch.testing.assert_close(balanced(name, size * rows) / size, expected, rtol=1e-3, atol=1e-4)


@needs_torchjd
@pytest.mark.filterwarnings("ignore:.*not DPP.*")
def test_nash_gives_its_own_step_whatever_the_size_of_the_gradients() -> None:
    rows = torch.tensor([[1.0, 0.2, 0.0], [-0.9, 0.7, 0.1]])
    # two rows bargain for weights that are inverse to their norms; torchjd bounds the step to norm 1
    bargain = (rows / rows.norm(dim=1, keepdim=True)).sum(0)
    for size in (1e-9, 1e-5, 1.0, 100.0):
        torch.testing.assert_close(balanced("nash-mtl", size * rows), bargain / bargain.norm(), rtol=1e-3, atol=1e-3)


@needs_torchjd
@pytest.mark.parametrize("name", BALANCERS)
def test_gradients_of_zero_stay_zero(name: str) -> None:
    assert not balanced(name, torch.zeros(2, 3)).any()


@needs_torchjd
def test_one_region_alone_gets_its_plain_gradient(tiny_module: Make, make_batch: MakeBatch) -> None:
    module = tiny_module("lorkd", "train.balancer=cagrad").train()
    fabric, batch = launch(TrainConfig(accelerator="cpu")), make_batch(0, 8)
    found = []
    for seam in (SumBackward(fabric), build_backward(module, fabric)):
        module.zero_grad()
        with module.live.scope(batch.region):
            seam.add(module(batch, None))
        seam.finish()
        found.append([value.grad.clone() for value in module.parameters() if value.grad is not None])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


@needs_torchjd
def test_a_gradient_that_is_not_finite_names_its_region(tiny_module: Make, make_batch: MakeBatch) -> None:
    module = tiny_module("mtl", "train.balancer=upgrad").train()
    seam = build_backward(module, launch(TrainConfig(accelerator="cpu")))
    batch = make_batch(4, 4)
    with module.live.scope(batch.region):
        terms = module(batch, None)
        seam.add({"ce": {"a": terms["ce"]["a"], "b": terms["ce"]["b"] * float("nan")}})
    with pytest.raises(DataError, match="gradient of region b is not finite"):
        seam.finish()


def test_the_sum_is_the_default_and_one_backward(tiny_module: Make, make_batch: MakeBatch) -> None:
    module, batch = tiny_module("lorkd").train(), make_batch(4, 4)
    seam = build_backward(module, launch(TrainConfig(accelerator="cpu")))
    assert isinstance(seam, SumBackward)
    with module.live.scope(batch.region):
        expected = torch.autograd.grad(total(module(batch, None)), list(module.parameters()))
        seam.add(module(batch, None))
    seam.finish()
    for value, gradient in zip(module.parameters(), expected, strict=True):
        assert torch.equal(value.grad, gradient)  # type: ignore[arg-type]


def test_a_phase_of_one_region_has_nothing_to_balance() -> None:
    """Each phase of stl."""
    regions = RegionSet([Region(name="a", classes=("x", "y"))])
    config = default_config(overrides=["student.backbone=shufflenet_v2_x1_0", "train.balancer=upgrad"])
    module = get_method("stl").build(config, regions, None)
    assert isinstance(build_backward(module, launch(TrainConfig(accelerator="cpu"))), SumBackward)


def test_shared_parameters_are_no_regions(tiny_module: Make) -> None:
    module = tiny_module("lorkd")
    names = {id(value): name for name, value in module.named_parameters()}
    found = [names[id(value)] for value in shared_parameters(module)]
    assert "live.backbone.stem.base.weight" in found
    assert not [name for name in found if {"a", "b"} & set(name.split("."))]


def test_what_a_balancer_cannot_do_is_refused_before_training(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match=r"'pcgrad' with train\.precision fp16"):
        check_balancer("pcgrad", TrainConfig(precision="fp16"))
    with pytest.raises(UsageError, match="'upgrad' with 2 processes"):
        launch(TrainConfig(balancer="upgrad", devices=2, accelerator="cpu"))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingRuntimeError, match=r"needs torchjd, cvxpy, ecos.*lorkit\[balancers\]") as caught:
        launch(TrainConfig(balancer="nash-mtl", accelerator="cpu"))
    assert caught.value.exit_code == 5
    check_balancer("sum", TrainConfig(precision="fp16", devices=8))
