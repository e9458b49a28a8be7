"""Losses between maps against the papers' formulas, written out place by place in float64, with their gradients."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from lorkit.decompose.methods.losses.maps import channel_loss, pair_loss

GRIDS = [(3, 4), (2, 3, 4)]


def draw(channels: int, grid: tuple[int, ...], seed: int, samples: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 3 * torch.randn(samples, channels, *grid, generator=generator, dtype=torch.float64)


def places(one_Cs: Tensor) -> list[Tensor]:
    return [one_Cs[(slice(None), *place)] for place in itertools.product(*map(range, one_Cs.shape[1:]))]


def by_channels(x: Tensor, y: Tensor, temperature: float) -> Tensor:
    """Shu et al. 2021, eq. 4 and 5."""
    total = x.new_zeros(())
    for channel in range(len(x)):
        ours, theirs = ([place[channel] / temperature for place in places(side)] for side in (x, y))
        sums = [torch.stack([value.exp() for value in side]).sum() for side in (ours, theirs)]
        for one, other in zip(ours, theirs, strict=True):
            p, q = one.exp() / sums[0], other.exp() / sums[1]
            total = total + q * (q / p).log()
    return temperature**2 / len(x) * total


def by_nodes(x: Tensor, y: Tensor, nodes: int) -> Tensor:
    """Liu et al. 2019, eq. 2, on means over blocks of places."""
    similarities = []
    for side in (x, y):
        parts = [min(size, nodes) for size in side.shape[1:]]
        means = []
        for node in itertools.product(*map(range, parts)):
            block = tuple(
                slice(at * size // part, -(-(at + 1) * size // part))
                for at, size, part in zip(node, side.shape[1:], parts, strict=True)
            )
            means.append(torch.stack(places(side[(slice(None), *block)])).mean(0))
        lengths = [(one * one).sum().sqrt() for one in means]
        similarities.append(
            [(a * b).sum() / (p * q) for a, p in zip(means, lengths, strict=True)
             for b, q in zip(means, lengths, strict=True)]
        )  # fmt: skip
    gaps = [(one - other) ** 2 for one, other in zip(*similarities, strict=True)]
    return torch.stack(gaps).sum() / len(gaps)


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_cwd_and_its_gradient_are_the_formula(grid: tuple[int, ...], temperature: float) -> None:
    x, y = draw(3, grid, 0).requires_grad_(), draw(3, grid, 1)
    found = channel_loss(x, y, temperature)
    wanted = torch.stack([by_channels(one, other, temperature) for one, other in zip(x, y, strict=True)])
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-13)
    weights = torch.tensor([1.0, 2.5], dtype=torch.float64)
    gradients = [torch.autograd.grad((weights * value).sum(), x)[0] for value in (found, wanted)]
    assert gradients[0].abs().max() > 1e-4
    torch.testing.assert_close(*gradients, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("nodes", [2, 3, 9])
def test_skd_and_its_gradient_are_the_formula(grid: tuple[int, ...], nodes: int) -> None:
    x, y = draw(3, grid, 0).requires_grad_(), draw(5, grid, 1)
    found = pair_loss(x, y, nodes)
    wanted = torch.stack([by_nodes(one, other, nodes) for one, other in zip(x, y, strict=True)])
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-13)
    gradients = [torch.autograd.grad(value.sum(), x)[0] for value in (found, wanted)]
    assert gradients[0].abs().max() > 1e-4
    torch.testing.assert_close(*gradients, rtol=1e-10, atol=1e-13)


def test_cwd_ignores_a_shift_of_a_channel_and_skd_a_rotation_and_the_scale() -> None:
    x, y = draw(3, (4, 4), 0), draw(3, (4, 4), 1)
    shift = torch.tensor([5.0, -7.0, 0.5], dtype=torch.float64)[:, None, None]
    torch.testing.assert_close(channel_loss(x + shift, y, 2.0), channel_loss(x, y, 2.0))
    turned = torch.einsum("ab,nb...->na...", torch.linalg.qr(draw(3, (3,), 2)[0])[0], x)
    torch.testing.assert_close(pair_loss(1e3 * turned, y, 4), pair_loss(x, y, 4))
    for value in (channel_loss(y, y, 1.0), pair_loss(3 * y, y, 4)):
        torch.testing.assert_close(value, torch.zeros(2, dtype=torch.float64))


def test_empty_maps_and_long_logits_give_finite_values_and_gradients() -> None:
    zero = torch.zeros(1, 2, 4, 4, requires_grad=True)
    pair_loss(zero, draw(2, (4, 4), 0, samples=1).float(), 4).sum().backward()
    assert zero.grad is not None
    assert zero.grad.isfinite().all()
    long = (1e4 * draw(2, (4, 4), 1, samples=1)).float().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        value = channel_loss(long, -long.detach(), 1.0)
    value.sum().backward()
    assert value.dtype == torch.float32
    assert value.isfinite().all()
    assert long.grad is not None
    assert long.grad.isfinite().all()
