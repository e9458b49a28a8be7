"""Norms of regions of equal size in a few operations, against torch's batch norm for each region."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses import FakeTensorMode

from lorkit.decompose.experts import RegionNorm, Routing
from lorkit.decompose.experts.norms import batched_norm

REGIONS = ("a", "b", "c")


def norm_of(base: nn.Module, *, packed: bool = False, policy: str = "region") -> tuple[RegionNorm, Routing]:
    torch.manual_seed(0)
    routing = Routing(REGIONS)
    norm = RegionNorm(base, policy, routing, "bn")  # type: ignore[arg-type]
    for parameter in norm.parameters():
        nn.init.normal_(parameter)
    if packed:
        norm.pack_()
    return norm, routing


def images(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    x = torch.randn(*shape, dtype=dtype)
    return (x.movedim(1, -1).contiguous().movedim(-1, 1) if x.dim() > 2 else x).requires_grad_()


@pytest.mark.parametrize("block", [1, 2**20], ids=["blocks", "whole"])
@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("policy", ["region", "statistics"])
@pytest.mark.parametrize(
    ("base", "shape"),
    [
        (nn.BatchNorm1d(3), (3,)),
        (nn.BatchNorm1d(3, affine=False), (3, 5)),
        (nn.BatchNorm2d(3, momentum=0.3), (3, 4, 5)),
        (nn.BatchNorm2d(3, track_running_stats=False), (3, 1, 1)),
        (nn.BatchNorm3d(3), (3, 2, 3, 2)),
    ],
)
def test_values_gradients_and_statistics_are_those_of_a_norm_for_each_region(
    base: nn.Module, shape: tuple[int, ...], policy: str, packed: bool, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batched_norm, "BLOCK", block)
    monkeypatch.setattr("lorkit.decompose.experts.norms.region_norm.batched_is_faster", lambda *_: True)
    norm, routing = norm_of(base.double(), packed=packed, policy=policy)
    alone = {region: norm.plain(region).train() for region in REGIONS}
    x = images(6, *shape)
    for _ in range(2):
        with routing.use(torch.tensor([0, 0, 1, 1, 2, 2])):
            y = norm(x)
        expected = torch.cat([alone[region](part) for region, part in zip(REGIONS, x.split(2), strict=True)])
        torch.testing.assert_close(y, expected)
    assert y.grad_fn is not None
    assert y.grad_fn.name() == "_BatchedBackward"
    cotangent = torch.randn_like(y)
    torch.testing.assert_close(
        torch.autograd.grad(y, x, cotangent, retain_graph=True)[0], torch.autograd.grad(expected, x, cotangent)[0]
    )
    y.backward(cotangent)
    for region in REGIONS:
        torch.testing.assert_close(norm.plain(region).state_dict(), alone[region].state_dict())
    if policy == "region":
        expected = torch.cat([alone[region](part) for region, part in zip(REGIONS, x.split(2), strict=True)])
        expected.backward(cotangent)
        for region in REGIONS:
            for mine, other in zip(norm.regions[region].parameters(), alone[region].parameters(), strict=True):
                torch.testing.assert_close(mine.grad, other.grad)


def test_a_region_without_rows_keeps_its_statistics_and_gets_no_gradient() -> None:
    norm, routing = norm_of(nn.BatchNorm2d(3), packed=True)
    before = {key: value.clone() for key, value in norm.regions["b"].state_dict().items()}
    with routing.use(torch.tensor([0, 0, 2, 2])):
        y = norm(images(4, 3, 2, 2, dtype=torch.float32))
    assert y.grad_fn is not None
    assert y.grad_fn.name() == "_BatchedBackward"
    y.sum().backward()
    torch.testing.assert_close(dict(norm.regions["b"].state_dict()), before, rtol=0, atol=0)
    assert norm.regions["b"].weight.grad is None
    assert int(norm.regions["c"].num_batches_tracked) == 1


def test_norms_of_another_type_are_left_to_torch() -> None:
    norm, routing = norm_of(nn.BatchNorm2d(3).double())
    with routing.use(torch.tensor([0, 0, 1, 1])), pytest.raises(RuntimeError, match="type"):
        norm(images(4, 3, 2, 2, dtype=torch.float32))  # as torch refuses it


def test_an_extracted_norm_does_not_hold_the_memory_of_other_regions() -> None:
    norm, _ = norm_of(nn.BatchNorm2d(3), packed=True)
    plain = norm.plain("b")
    assert all(value.untyped_storage().nbytes() == value.nbytes for value in plain.state_dict().values())


def test_a_large_mean_costs_no_more_accuracy_than_in_torch() -> None:
    norm, routing = norm_of(nn.BatchNorm2d(3))
    x = (images(6, 3, 8, 8, dtype=torch.float32).detach() + 1000).requires_grad_()
    cotangent = torch.randn_like(x)
    exact = x.detach().double().requires_grad_()
    parts = []
    for region, part in zip(REGIONS, exact.split(2), strict=True):
        weight, bias = (value.detach().double() for value in norm.regions[region].parameters())
        parts.append(nn.functional.batch_norm(part, None, None, weight, bias, training=True))
    with routing.use(torch.tensor([0, 0, 1, 1, 2, 2])):
        y = norm(x)
    assert y.grad_fn is not None
    assert y.grad_fn.name() == "_BatchedBackward"
    torch.testing.assert_close(y.double(), torch.cat(parts), rtol=0, atol=2e-3)
    (mine,) = torch.autograd.grad(y, x, cotangent)
    (other,) = torch.autograd.grad(torch.cat(parts), exact, cotangent.double())
    torch.testing.assert_close(mine.double(), other, rtol=0, atol=2e-3)


def test_large_maps_other_layouts_and_rounded_products_are_left_to_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    x = images(4, 8, 4, 4).detach()
    assert batched_norm.batched_is_faster(x, 2)
    assert not batched_norm.batched_is_faster(x.contiguous(), 2)
    assert not batched_norm.batched_is_faster(x.bfloat16(), 2)
    monkeypatch.setattr(batched_norm, "BLOCK", x.numel() - 1)  # not even two regions fit
    assert not batched_norm.batched_is_faster(x, 2)
    monkeypatch.undo()
    monkeypatch.setattr(torch, "get_float32_matmul_precision", lambda: "medium")
    assert not batched_norm.batched_is_faster(x, 2)


def test_nothing_that_a_tracing_mode_makes_is_used_after_it() -> None:
    norm, routing = norm_of(nn.BatchNorm2d(3))
    batched_norm._row.cache_clear()
    batched_norm._number.cache_clear()
    index, x = torch.tensor([0, 0, 1, 1, 2, 2]), images(6, 3, 2, 7, dtype=torch.float32)
    with torch.device("meta"), routing.use(index):
        assert norm(x).device.type == "cpu"
    with FakeTensorMode(allow_non_fake_inputs=True):
        assert not batched_norm.batched_is_faster(torch.empty(6, 2, 7, 3).movedim(-1, 1), 3)
    with routing.use(index):
        assert bool(norm(x).isfinite().all())
