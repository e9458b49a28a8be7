from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.autograd import gradcheck, gradgradcheck

from lorkit.decompose.experts import Routing

REGIONS = ("a", "b", "c")


@given(ids=st.lists(st.integers(0, 2), min_size=1, max_size=12), repeat=st.integers(1, 3))
def test_rearrange_undoes_split(ids: list[int], repeat: int) -> None:
    routing = Routing(REGIONS)
    plan = routing.route(torch.tensor(ids))
    rows = torch.arange(len(ids) * repeat)
    parts = plan.split(rows, "layer")
    for t, part in parts:
        assert all(ids[row // repeat] == t for row in part.tolist())
    assert torch.equal(plan.rearrange(torch.cat([part for _, part in parts])), rows)


@given(ids=st.lists(st.integers(0, 2), min_size=1, max_size=12))
def test_a_presorted_plan_leaves_the_permutation_to_the_caller(ids: list[int]) -> None:
    plan = Routing(REGIONS).route(torch.tensor(ids), sort=True)
    grouped = plan.group(torch.tensor(ids))
    assert torch.equal(grouped, torch.tensor(sorted(ids)))
    assert torch.equal(torch.cat([part for _, part in plan.split(grouped, "layer")]), grouped)
    assert torch.equal(plan.restore(grouped), torch.tensor(ids))


def test_grouped_rows_are_slices_of_the_same_memory() -> None:
    x = torch.randn(4, 2)
    (_, first), (_, second) = Routing(REGIONS).route(torch.tensor([0, 0, 2, 2])).split(x, "layer")
    assert first.data_ptr() == x.data_ptr()
    assert second.data_ptr() == x[2:].data_ptr()


@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("repeat", [1, 2])
def test_grouping_keeps_the_memory_format_and_every_derivative(memory: torch.memory_format, repeat: int) -> None:
    ids = torch.tensor([2, 0, 1, 0])
    plan = Routing(REGIONS).route(ids)
    x = torch.randn(4 * repeat, 3, 2, 2, dtype=torch.float64).contiguous(memory_format=memory).requires_grad_()
    order = torch.argsort(ids.repeat_interleave(repeat), stable=True)
    y = plan.arrange(x)
    assert torch.equal(y, x[order])
    assert y.is_contiguous(memory_format=memory)
    assert torch.equal(plan.rearrange(y), x)
    cotangent = torch.randn_like(y)
    found = torch.autograd.grad(y, x, cotangent)[0]
    assert torch.equal(found, torch.autograd.grad(x[order], x, cotangent)[0])
    assert found.is_contiguous(memory_format=memory)
    torch.relu_(plan.arrange(x)).sum().backward()  # networks change activations in place
    assert gradcheck(plan.arrange, (x,))
    assert gradgradcheck(lambda x: plan.rearrange(x) ** 2, (x,))
