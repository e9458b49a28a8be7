"""A step under each option against the plain step."""

import copy
from collections.abc import Callable

import pytest
import torch

from lorkit.decompose.config import TrainConfig
from lorkit.decompose.data.batches.loader import Batch
from lorkit.decompose.methods import TrainingModule
from lorkit.decompose.tasks.losses import total
from lorkit.decompose.training.loop.devices import launch
from lorkit.decompose.training.loop.step import OptimizerStep

Make = Callable[..., TrainingModule]
MakeBatch = Callable[..., Batch]


def stepper(module: TrainingModule, **settings: object) -> OptimizerStep:
    train = TrainConfig(**{"accelerator": "cpu", "optimizer": "sgd", "lr": 0.1, **settings})  # type: ignore[arg-type]
    return OptimizerStep(module.train(), train, launch(train))


def weights(made: OptimizerStep) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in made.module.state_dict().items()}


def assert_close(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor], **limits: float) -> None:
    assert found.keys() == expected.keys()
    for name, value in found.items():
        torch.testing.assert_close(value, expected[name], msg=name, **(limits or {"rtol": 1e-5, "atol": 1e-7}))


@pytest.mark.parametrize("method", ["lorkd", "mtl"])
@pytest.mark.parametrize("pieces", [2, 3])
def test_accumulated_micro_batches_are_the_whole_batch(
    tiny_module: Make, make_batch: MakeBatch, method: str, pieces: int
) -> None:
    whole, cut = (stepper(tiny_module(method, backbone="tiny_groups"), accumulate=k) for k in (1, pieces))
    runs: list[int] = []
    cut.module.live.backbone.stem.register_forward_hook(lambda *_: runs.append(1))
    for seed in range(3):
        batch = make_batch(5, 9, seed=seed)
        expected, found = whole.step(batch, 0.1), cut.step(batch, 0.1)
        for name, value in expected["ce"].items():
            torch.testing.assert_close(found["ce"][name], value)
    assert len(runs) == 3 * pieces
    assert_close(weights(cut), weights(whole))


def test_a_micro_batch_without_a_region_does_not_hold_its_gradient_back(
    tiny_module: Make, make_batch: MakeBatch
) -> None:
    """With 2 samples in 3 micro-batches region a stands in one alone; its expert must move all the same."""
    whole, cut = (stepper(tiny_module("lorkd", backbone="tiny_groups"), accumulate=k) for k in (1, 3))
    for made in (whole, cut):
        made.step(make_batch(2, 8), 0.1)
    assert_close(weights(cut), weights(whole))


def test_an_absent_region_stays_where_it_is(tiny_module: Make, make_batch: MakeBatch) -> None:
    made = stepper(tiny_module("lorkd", backbone="tiny_groups"), accumulate=2, weight_decay=0.5)
    made.step(make_batch(4, 4), 0.1)  # momentum has something to keep on with
    before = weights(made)
    made.step(make_batch(8, 0), 0.1)
    for name, value in weights(made).items():
        assert torch.equal(value, before[name]) == ("b" in name.split(".") or "mean" in name or "std" in name), name


@pytest.mark.parametrize("method", ["lorkd", "mtl"])
def test_the_average_follows_every_step_and_is_the_result(
    tiny_module: Make, make_batch: MakeBatch, method: str
) -> None:
    made = stepper(tiny_module(method), ema=0.5, precision="bf16")
    expected: dict[str, torch.Tensor] = {}
    for step in range(3):
        made.step(make_batch(6, 6, seed=step), 0.1)
        now = weights(made)
        for name, value in now.items():
            mixed = step and value.is_floating_point()
            expected[name] = 0.5 * expected[name] + 0.5 * value if mixed else value
    found = {name: value.clone() for name, value in made.evaluated_module.state_dict().items()}
    assert_close(found, expected)
    assert any(not torch.equal(value, weights(made)[name]) for name, value in found.items())
    assert made.evaluated_module.live.routing is not made.module.live.routing
    with torch.no_grad():
        made.evaluated_module.live(torch.rand(2, 1, 16, 16), "a")


@pytest.mark.parametrize(
    "settings",
    [
        {"ema": 0.9},
        {"accumulate": 2, "ema": 0.9, "optimizer": "adamw"},
        {"balancer": "pcgrad"},
        {"balancer": "nash-mtl", "accumulate": 2},
    ],
    ids=str,
)
def test_a_restored_step_goes_on_with_the_same_bits(
    tiny_module: Make, make_batch: MakeBatch, settings: dict[str, object]
) -> None:
    if "balancer" in settings:
        pytest.importorskip("torchjd")
        pytest.importorskip("ecos")
    balancer = f"train.balancer={settings.get('balancer', 'sum')}"
    first, second = (stepper(tiny_module("lorkd", balancer), **settings) for _ in range(2))
    for seed in range(3):
        first.step(make_batch(6, 6, seed=seed), 0.1)
    second.restore(copy.deepcopy(first.state()))
    random = torch.get_rng_state()
    for made in (first, second):
        torch.set_rng_state(random)
        for seed in range(3, 5):
            made.step(make_batch(6, 6, seed=seed), 0.1)
    for name, value in weights(first).items():
        assert torch.equal(value, weights(second)[name]), name
    for name, value in first.evaluated_module.state_dict().items():
        assert torch.equal(value, second.evaluated_module.state_dict()[name]), name


def test_terms_are_those_of_the_loss(tiny_module: Make, make_batch: MakeBatch) -> None:
    module = tiny_module("mtl", backbone="tiny_groups")
    batch = make_batch(4, 4)
    expected = float(total(module(batch, None)).detach())
    terms = stepper(module, accumulate=2).step(batch, 0.1)
    assert float(total(terms)) == pytest.approx(expected)


def test_the_factors_have_their_own_rate(tiny_module: Make, make_batch: MakeBatch) -> None:
    """One SGD step moves each parameter by its rate times its gradient, so twice the rate moves it twice as far."""
    moved = {}
    for ratio in (1, 2):
        made = stepper(tiny_module("lorkd", f"lorkd.factor_lr_ratio={ratio}"), weight_decay=0, momentum=0)
        before = weights(made)
        made.step(make_batch(5, 7), 0.1)
        moved[ratio] = {name: value - before[name] for name, value in weights(made).items()}
    factors = [name for name in moved[1] if ".up." in name or ".down." in name]
    shared = [name for name, _ in made.module.named_parameters() if name not in factors]
    assert factors
    for names, scale in ((factors, 2), (shared, 1)):
        for name in names:
            torch.testing.assert_close(moved[2][name], scale * moved[1][name], rtol=1e-3, atol=1e-7, msg=name)
