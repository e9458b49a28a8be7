from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

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
