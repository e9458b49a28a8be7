from __future__ import annotations

import copy

import pytest
import torch

from lorkit.decompose.errors import DataError, UsageError
from lorkit.decompose.experts import Routing
from lorkit.decompose.experts.routing import check_names

REGIONS = ("a", "b", "c")


def test_scopes_nest_and_are_cleared_even_after_an_error() -> None:
    routing = Routing(REGIONS)
    with routing.use("a"):
        with routing.use("b"):
            assert routing.current("x").source == "b"
        with pytest.raises(RuntimeError, match="inner"), routing.use("b"):
            raise RuntimeError("inner")
        assert routing.current("x").source == "a"
    with pytest.raises(UsageError, match="ran without a region"):
        routing.current("x")


def test_the_same_selection_is_grouped_once() -> None:
    routing, ids = Routing(REGIONS), torch.tensor([1, 0])
    with routing.use(ids, sort=True) as outer, routing.use(ids, sort=True) as inner:
        assert inner is outer
        with routing.use(ids) as unsorted:
            assert unsorted is not outer
        with routing.use(ids.clone(), sort=True) as other:
            assert other is not outer


def test_activate_holds_until_the_next_call() -> None:
    routing = Routing(REGIONS)
    routing.activate("b")
    assert routing.current("x").regions == (1,)
    with routing.use("c"):
        assert routing.current("x").regions == (2,)
    assert routing.current("x").regions == (1,)
    with pytest.raises(UsageError, match=r"unknown region 'd'.*one of a, b, c"):
        routing.activate("d")


def test_without_experts_is_restored() -> None:
    routing = Routing(REGIONS)
    with routing.without_experts():
        assert not routing.experts_on
    assert routing.experts_on


def test_a_copy_starts_outside_the_scope_and_keeps_the_active_region() -> None:
    routing = Routing(REGIONS, wrapped=("conv",), skipped=(("bn", "why"),))
    routing.activate("a")
    with routing.use("c"):
        twin = copy.deepcopy(routing)
    assert twin.current("x").source == "a"
    assert (twin.wrapped, twin.skipped) == (routing.wrapped, routing.skipped)


@pytest.mark.parametrize(
    "ids",
    [
        torch.tensor([0, 3]),
        torch.tensor([-1, 0]),
        torch.tensor([[0, 1]]),
        torch.tensor([True, False]),
        torch.tensor([], dtype=torch.int64),
        torch.rand(2, 2),
        torch.rand(3),
    ],
    ids=["high", "negative", "matrix", "bool", "empty", "few-gates", "flat-gates"],
)
def test_what_is_neither_ids_nor_gates_is_refused(ids: torch.Tensor) -> None:
    with pytest.raises(DataError, match=r"integers in 0\.\.2"), Routing(REGIONS).use(ids):
        pass


@pytest.mark.parametrize("names", [(), ("a", "a"), ("a.b",), ("keys",), ("train",), ("forward",)])
def test_names_that_cannot_name_parameters_are_refused(names: tuple[str, ...]) -> None:
    with pytest.raises(UsageError):
        check_names(names)


@pytest.mark.parametrize(
    "ids", [torch.tensor([0, 1, 1]), torch.tensor([1, 1, 1]), torch.rand(3, 3)], ids=["many", "one", "gates"]
)
def test_ids_that_are_changed_within_their_scope_are_refused(ids: torch.Tensor) -> None:
    routing = Routing(REGIONS)
    with routing.use(ids) as outer:
        assert routing.current("conv1") is outer
        ids[0] = 2
        with pytest.raises(UsageError, match=r"layer 'conv1' ran with region ids or gates that were changed"):
            routing.current("conv1")
        with routing.use(ids) as inner:  # grouped anew, not taken from the scope before
            assert routing.current("conv1") is inner is not outer
            if not ids.is_floating_point():
                assert 2 in inner.regions
    ids[0] = 0
    with routing.use(ids):  # a buffer may be filled again for the next batch
        routing.current("conv1")


def test_ids_made_in_inference_mode_can_be_used() -> None:
    with torch.inference_mode():
        ids = torch.tensor([0, 1])
    routing = Routing(REGIONS)
    with routing.use(ids) as plan:
        assert routing.current("conv1") is plan
