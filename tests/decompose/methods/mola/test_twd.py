"""TwD against the loops of its formula, in float64, with gradients."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from lorkit.decompose.methods.mola.twd import decorrelation


def naive(rows: Tensor, regions: Tensor, tau: float) -> Tensor:
    """The formula, pair by pair; 0 without a positive pair."""
    z = [row / row.norm() for row in rows]
    found = []
    for i in range(len(z)):
        for j in range(len(z)):
            if i == j or regions[i] != regions[j]:
                continue
            others = torch.stack([(z[i] @ z[k] / tau).exp() for k in range(len(z)) if k != i])
            found.append(z[i] @ z[j] / tau - others.sum().log())
    return -torch.stack(found).mean() if found else rows.sum() * 0.0


@given(
    regions=st.lists(st.integers(0, 3), min_size=1, max_size=9),
    tau=st.sampled_from([0.1, 1.0, 3.0]),
    seed=st.integers(0, 99),
)
def test_values_and_gradients_are_those_of_the_loops(regions: list[int], tau: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(len(regions), 5, generator=generator, dtype=torch.float64, requires_grad=True)
    region_N = torch.tensor(regions)
    found, expected = decorrelation(rows, region_N, tau).sum(), naive(rows, region_N, tau)
    torch.testing.assert_close(found, expected)
    pair = [torch.autograd.grad(value, rows)[0] for value in (found, expected)]
    torch.testing.assert_close(*pair)


def test_the_value_of_four_samples_by_hand() -> None:
    # two orthogonal pairs: each positive has similarity 1, each of two negatives 0
    rows = torch.tensor([[2.0, 0.0], [5.0, 0.0], [0.0, 1.0], [0.0, 3.0]])
    parts = decorrelation(rows, torch.tensor([0, 0, 1, 1]), 1.0)
    torch.testing.assert_close(parts, torch.full((4,), (math.log(math.e + 2) - 1) / 4))


@pytest.mark.parametrize("regions", [[0], [0, 1], [2, 0, 1]], ids=str)
def test_without_a_positive_pair_loss_and_gradients_are_zero(regions: list[int]) -> None:
    rows = torch.randn(len(regions), 3, requires_grad=True)
    loss = decorrelation(rows, torch.tensor(regions), 1.0).sum()
    loss.backward()
    assert loss.item() == 0.0
    assert torch.equal(rows.grad, torch.zeros_like(rows))


def test_equal_rows_and_rows_of_zeros_have_finite_gradients() -> None:
    rows = torch.zeros(4, 3, requires_grad=True)
    loss = decorrelation(rows, torch.tensor([0, 0, 1, 1]), 1.0).sum()
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(rows.grad).all()


def test_separated_regions_have_a_smaller_loss_than_mixed_ones() -> None:
    apart = torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [0.1, 1.0]])
    regions = torch.tensor([0, 0, 1, 1])
    assert decorrelation(apart, regions, 1.0).sum() < decorrelation(apart[[0, 2, 1, 3]], regions, 1.0).sum()
