from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from lorkit.decompose.config import TrainConfig
from lorkit.decompose.training.loop.optimizer import average_of, build_optimizer, learning_rate, least_steps


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_a_parameter_without_gradient_does_not_move(name: str) -> None:
    settings = TrainConfig(optimizer=name, weight_decay=0.1)
    here, absent = torch.nn.Parameter(torch.ones(3, 2)), torch.nn.Parameter(torch.ones(3, 2))
    optimizer = build_optimizer([{"params": [here, absent], "weight_decay": 0.1}, {"params": []}], settings)
    for parameter in (here, absent):
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    assert len(optimizer.param_groups) == 1
    before = absent.detach().clone()
    absent.grad = None
    optimizer.step()
    assert torch.equal(absent, before)
    assert not torch.equal(here, before)


def test_sgd_is_the_textbook_formula() -> None:
    settings = TrainConfig(optimizer="sgd", lr=0.1, momentum=0.9)
    parameter = torch.nn.Parameter(torch.tensor([1.0, -2.0]))
    optimizer = build_optimizer([{"params": [parameter], "weight_decay": 0.01}], settings)
    value, velocity = torch.tensor([1.0, -2.0], dtype=torch.float64), torch.zeros(2, dtype=torch.float64)
    for _ in range(3):
        parameter.grad = torch.tensor([0.5, 0.25])
        optimizer.step()
        velocity = 0.9 * velocity + torch.tensor([0.5, 0.25], dtype=torch.float64) + 0.01 * value
        value = value - 0.1 * velocity
    torch.testing.assert_close(parameter.detach().double(), value, rtol=1e-6, atol=1e-7)


def test_late_regions_and_channels_last_kernels_step_as_the_plain_loop() -> None:
    torch.manual_seed(0)
    ours, plain = (torch.nn.Conv2d(4, 8, 3).to(memory_format=torch.channels_last) for _ in range(2))
    plain.load_state_dict(ours.state_dict())
    fused = build_optimizer(
        [{"params": list(ours.parameters()), "weight_decay": 0.1}], TrainConfig(optimizer="sgd", lr=0.1)
    )
    loop = torch.optim.SGD(plain.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1, foreach=False)
    for number in range(4):
        image = torch.randn(2, 4, 6, 6).to(memory_format=torch.channels_last)
        for network, optimizer in ((ours, fused), (plain, loop)):
            optimizer.zero_grad()
            network(image).square().sum().div(100).backward()
            if number < 2:
                network.bias.grad = None  # as if its region were absent from the first batches
            optimizer.step()
    torch.testing.assert_close(ours.weight, plain.weight)
    torch.testing.assert_close(ours.bias, plain.bias)


def test_the_schedule_warms_up_then_follows_a_cosine() -> None:
    settings = TrainConfig(epochs=5, lr=1.0, warmup_epochs=1)
    rates = [learning_rate(settings, step, 10) for step in range(50)]
    assert rates[:10] == pytest.approx([(step + 1) / 11 for step in range(10)])
    assert rates[30] == pytest.approx(0.5 * (1 + math.cos(math.pi * 20 / 40)))
    assert rates[10:] == sorted(rates[10:], reverse=True)


def test_a_constant_schedule_and_one_that_is_all_warm_up() -> None:
    constant = TrainConfig(epochs=2, lr=1.0, warmup_epochs=0, schedule="constant")
    assert {learning_rate(constant, step, 4) for step in range(8)} == {1.0}
    warm = TrainConfig(epochs=1, lr=1.0, warmup_epochs=1)
    assert learning_rate(warm, 3, 4) == pytest.approx(4 / 5)


@pytest.mark.parametrize("name", ["sgd", "adamw"])
@pytest.mark.parametrize("last", [True, False])
def test_a_gradient_in_another_memory_layout_is_not_scrambled(name: str, last: bool) -> None:
    """torch's fused kernels walk over memory; without our hook this test is off by whole updates."""
    layouts = [torch.channels_last, torch.contiguous_format]
    of_parameter, of_gradient = layouts if last else layouts[::-1]
    start, gradient = torch.randn(4, 6, 3, 3), torch.randn(4, 6, 3, 3)
    results = []
    for layout in (of_parameter, of_gradient):
        parameter = torch.nn.Parameter(start.clone().contiguous(memory_format=layout))
        optimizer = build_optimizer([{"params": [parameter]}], TrainConfig(optimizer=name, lr=0.1))  # type: ignore[arg-type]
        for _ in range(2):
            parameter.grad = gradient.clone().contiguous(memory_format=of_gradient)
            optimizer.step()
        results.append(parameter.detach())
    torch.testing.assert_close(results[0], results[1])


@pytest.mark.parametrize(("least", "steps"), [(None, 1), (1, 1), (30, 3), (31, 4), (600, 60)])
def test_epochs_are_as_long_as_the_least_steps_of_the_training_need(least: int | None, steps: int) -> None:
    assert least_steps(TrainConfig(epochs=10, min_steps=least)) == steps


def test_the_average_is_the_recurrence_and_whole_numbers_are_copied() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)).double()
    network.register_buffer("index", torch.tensor([3, 99999]))
    average = average_of(network, 0.9)
    expected: dict[str, torch.Tensor] = {}
    for step in range(4):
        network(torch.randn(5, 3, dtype=torch.float64))  # moves running statistics and the counter
        with torch.no_grad():
            for value in network.parameters():
                value.add_(torch.randn_like(value))
        average.update_parameters(network)
        for name, value in network.state_dict().items():
            kept = step and value.is_floating_point()
            expected[name] = 0.9 * expected[name] + 0.1 * value if kept else value.clone()
    found = average.module.state_dict()
    assert found.keys() == expected.keys()
    for name, value in found.items():
        torch.testing.assert_close(value, expected[name], rtol=1e-12, atol=0, msg=name)
    assert int(found["1.num_batches_tracked"]) == 4
    assert not any(value.requires_grad for value in average.parameters())
