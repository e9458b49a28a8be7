from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import nn

from lorkit.decompose.errors import DataError, UsageError
from lorkit.decompose.experts import RegionNorm, Routing, recalibrate_norm_

REGIONS = ("a", "b", "c")
IDS = torch.tensor([1, 0, 1, 0, 1])


def build(policy: str, base: nn.Module | None = None) -> tuple[RegionNorm, Routing]:
    torch.manual_seed(0)
    base = base or nn.BatchNorm2d(3)
    nn.init.normal_(base.weight)
    nn.init.normal_(base.bias)
    routing = Routing(REGIONS)
    return RegionNorm(base.double(), policy, routing, "bn1"), routing  # type: ignore[arg-type]


@pytest.mark.parametrize("policy", ["statistics", "region"])
@pytest.mark.parametrize(
    ("base", "shape"),
    [(nn.BatchNorm1d(3), (3,)), (nn.BatchNorm2d(3, momentum=0.3), (3, 4, 5)), (nn.BatchNorm3d(3), (3, 2, 3, 2))],
)
def test_each_region_is_normalised_as_a_norm_of_its_own_would(
    policy: str, base: nn.Module, shape: tuple[int, ...]
) -> None:
    norm, routing = build(policy, base)
    alone = {region: norm.plain(region).train() for region in REGIONS}
    for _ in range(2):
        x = torch.randn(5, *shape, dtype=torch.float64) + IDS.view(-1, *(1,) * len(shape))
        with routing.use(IDS):
            y = norm(x)
        for t, region in enumerate(REGIONS[:2]):
            torch.testing.assert_close(y[t == IDS], alone[region](x[t == IDS]))
    for region in REGIONS:
        for key, value in alone[region].state_dict().items():
            torch.testing.assert_close(norm.plain(region).state_dict()[key], value)
    assert norm.plain("c").num_batches_tracked == 0


@pytest.mark.parametrize("policy", ["statistics", "region"])
@pytest.mark.parametrize("momentum", [0.1, None])
def test_many_regions_of_equal_size_give_the_numbers_and_gradients_of_single_norms(
    policy: str, momentum: float | None
) -> None:
    torch.manual_seed(0)
    names = tuple(f"r{index}" for index in range(17))
    routing = Routing(names)
    base = nn.BatchNorm2d(3, momentum=momentum).double()
    nn.init.normal_(base.weight)
    norm = RegionNorm(base, policy, routing, "bn")  # type: ignore[arg-type]
    alone = {name: norm.plain(name).train() for name in names}
    ids = torch.arange(17).repeat_interleave(2)
    x = torch.randn(34, 3, 2, 4, dtype=torch.float64).to(memory_format=torch.channels_last).requires_grad_()
    cotangent = torch.randn_like(x)
    with routing.use(ids):
        y = norm(x)
    (found,) = torch.autograd.grad(y, x, cotangent, retain_graph=True)
    expected = torch.cat([alone[name](x[ids == t]) for t, name in enumerate(names)])
    torch.testing.assert_close(y, expected)
    torch.testing.assert_close(found, torch.autograd.grad(expected, x, cotangent)[0])
    assert y.is_contiguous(memory_format=torch.channels_last)
    for name in names:
        torch.testing.assert_close(norm.plain(name).state_dict(), alone[name].state_dict())
    y.backward(cotangent)
    assert all(value.grad is not None for value in norm.parameters())


def test_statistics_share_one_affine_map_and_region_does_not() -> None:
    shared, _ = build("statistics")
    assert {name for name, _ in shared.named_parameters()} == {"weight", "bias"}
    own, _ = build("region")
    assert "regions.a.weight" in dict(own.named_parameters())
    assert type(shared.plain("a")) is type(own.plain("a")) is nn.BatchNorm2d


def test_gradients_of_a_region_come_from_its_rows() -> None:
    norm, routing = build("region")
    with routing.use(IDS):
        norm(torch.randn(5, 3, 2, 2, dtype=torch.float64))[IDS == 1].square().sum().backward()
    gradients = {name: parameter.grad for name, parameter in norm.named_parameters()}
    assert gradients["regions.b.weight"] is not None
    assert gradients["regions.b.weight"].any()
    assert gradients["regions.a.weight"] is None or not gradients["regions.a.weight"].any()
    assert gradients["regions.c.weight"] is None


def test_one_value_a_channel_has_no_variance() -> None:
    norm, routing = build("region", nn.BatchNorm1d(3))
    with routing.use(torch.tensor([0, 0, 1])), pytest.raises(DataError, match=r"region 'b' has one value .*'bn1'"):
        norm(torch.randn(3, 3, dtype=torch.float64))
    norm.eval()
    with routing.use(torch.tensor([0, 0, 1])):
        norm(torch.randn(3, 3, dtype=torch.float64))


def test_a_norm_by_region_needs_a_region() -> None:
    norm, routing = build("region")
    x = torch.randn(2, 3, 2, 2, dtype=torch.float64)
    with routing.use(None), pytest.raises(UsageError, match="statistics by region"):
        norm(x)
    with routing.without_experts(), routing.use("a"):  # the bare student keeps the region's norm
        torch.testing.assert_close(norm(x), norm.plain("a").train()(x))


@pytest.mark.parametrize("policy", ["statistics", "region"])
def test_soft_gates_mix_the_norms_in_eval_and_are_refused_in_training(policy: str) -> None:
    norm, routing = build(policy)
    x, gates = torch.randn(4, 3, 2, 2, dtype=torch.float64), torch.rand(4, 3, dtype=torch.float64)
    with routing.use(gates), pytest.raises(UsageError, match="soft gates in training"):
        norm(x)
    norm.eval()
    with routing.use(gates):
        y = norm(x)
    expected = sum(gates[:, t].view(-1, 1, 1, 1) * norm.plain(region)(x) for t, region in enumerate(REGIONS))
    torch.testing.assert_close(y, expected)


def test_recalibration_is_the_average_over_the_batches() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.BatchNorm2d(3, momentum=0.01), nn.Dropout(0.5)).double()
    batches = [torch.randn(8, 3, 4, 4, dtype=torch.float64) * 3 + 5 for _ in range(3)]
    assert recalibrate_norm_(model, [(batch, None) for batch in batches]) == 1
    means = torch.stack([batch.mean((0, 2, 3)) for batch in batches]).mean(0)
    torch.testing.assert_close(model[0].running_mean, means)
    assert model[0].momentum == 0.01
    assert model.training
    assert model[0].training


def test_recalibration_without_images_or_with_bad_ones_changes_nothing() -> None:
    model = nn.Sequential(nn.BatchNorm2d(3)).eval()
    model(torch.randn(2, 3, 2, 2))
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(DataError, match="no batch"):
        recalibrate_norm_(model, [])
    with pytest.raises(RuntimeError):
        recalibrate_norm_(model, [torch.randn(2, 3, 2, 2), torch.randn(2, 4, 2, 2)])
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert not model[0].training


def test_recalibration_refuses_a_live_model() -> None:
    norm, _ = build("region")
    with pytest.raises(UsageError, match="a model with experts"):
        recalibrate_norm_(nn.Sequential(norm), [])


@pytest.mark.parametrize("policy", ["statistics", "region"])
@pytest.mark.parametrize(
    "view",
    [
        lambda x: x.transpose(2, 3),
        lambda x: x[:, ::2].repeat_interleave(2, 1)[:, 1::2],
        lambda x: x.to(memory_format=torch.channels_last)[..., 1:],
        lambda x: x[:, :1].expand(-1, 4, -1, -1),
    ],
    ids=["transposed", "channels", "cropped", "expanded"],
)
def test_rows_of_any_memory_layout_are_normalised_alike(
    policy: str, view: Callable[[torch.Tensor], torch.Tensor]
) -> None:
    """torch's kernel that writes into a given output is wrong on some layouts (2.13): they never reach it."""
    x = view(torch.randn(5, 4, 6, 6, dtype=torch.float64))
    norm, routing = build(policy, nn.BatchNorm2d(x.shape[1]))
    alone = {region: norm.plain(region).train() for region in REGIONS}
    with routing.use(torch.tensor([0, 0, 1, 1, 1])):
        y = norm(x)
    torch.testing.assert_close(y, torch.cat([alone["a"](x[:2]), alone["b"](x[2:])]))
    torch.testing.assert_close(norm.plain("b").running_var, alone["b"].running_var)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("affine", [True, False])
def test_norms_in_half_precision(dtype: torch.dtype, affine: bool) -> None:
    routing = Routing(REGIONS)
    norm = RegionNorm(nn.BatchNorm2d(3, affine=affine), "region", routing, "bn").to(dtype)
    x = torch.randn(4, 3, 4, 4)
    with routing.use(torch.tensor([0, 0, 1, 1])):
        y = norm(x.to(dtype))
    expected = torch.cat([torch.nn.functional.batch_norm(part, None, None, training=True) for part in x.split(2)])
    torch.testing.assert_close(y.float(), expected, atol=0.05, rtol=0.05)


def test_regions_whose_norms_differ_keep_their_own_settings() -> None:
    norm, routing = build("region")
    norm.regions["b"].eps = 10.0
    alone = {region: norm.plain(region).train() for region in REGIONS}
    x = torch.randn(4, 3, 2, 2, dtype=torch.float64)
    with routing.use(torch.tensor([0, 0, 1, 1])):
        y = norm(x)
    torch.testing.assert_close(y, torch.cat([alone["a"](x[:2]), alone["b"](x[2:])]))


def test_a_frozen_norm_stays_frozen() -> None:
    norm = RegionNorm(nn.BatchNorm2d(3).requires_grad_(False), "statistics", Routing(REGIONS), "bn")
    assert not any(parameter.requires_grad for parameter in norm.parameters())


@pytest.mark.parametrize("policy", ["statistics", "region"])
@pytest.mark.parametrize("rows", [(2,) * 17, (2, 3, 1), (4,)], ids=["folded", "segmented", "single"])
def test_a_norm_with_a_weight_and_no_bias(policy: str, rows: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    names = tuple(f"r{index}" for index in range(17))
    routing = Routing(names)
    base = nn.BatchNorm2d(3, bias=False).double()
    nn.init.normal_(base.weight)
    norm = RegionNorm(base, policy, routing, "bn")  # type: ignore[arg-type]
    ids = torch.repeat_interleave(torch.tensor(rows))
    x = torch.randn(len(ids), 3, 4, 5, dtype=torch.float64, requires_grad=True)
    cotangent = torch.randn_like(x)
    with routing.use(ids):
        y = norm(x)
    parts = []
    for part in x.split(list(rows)):  # the textbook's formula
        deviation = part - part.mean((0, 2, 3), keepdim=True)
        variance = deviation.square().mean((0, 2, 3), keepdim=True)
        parts.append(deviation / (variance + base.eps).sqrt() * base.weight.view(-1, 1, 1))
    expected = torch.cat(parts)
    torch.testing.assert_close(y, expected)
    (found,) = torch.autograd.grad(y, x, cotangent, retain_graph=True)
    torch.testing.assert_close(found, torch.autograd.grad(expected, x, cotangent)[0])
    plain = norm.plain("r0")
    assert type(plain) is nn.BatchNorm2d
    assert dict(plain.named_parameters()).keys() == {"weight"}
    norm.eval()
    with routing.use("r0"):
        torch.testing.assert_close(norm(x), plain.eval()(x))
    y.backward(cotangent)
    assert all(value.grad is not None for name, value in norm.named_parameters() if "." not in name)


@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("rows", [(2, 3), (2,) * 17], ids=["segmented", "folded"])
def test_maps_of_one_pixel_under_autocast(
    rows: tuple[int, ...], dtype: torch.dtype, memory: torch.memory_format
) -> None:
    torch.manual_seed(0)
    routing = Routing(tuple(f"r{index}" for index in range(17)))
    norm = RegionNorm(nn.BatchNorm2d(8), "region", routing, "bn")
    ids = torch.repeat_interleave(torch.tensor(rows))
    x = torch.randn(len(ids), 8, 1, 1).to(dtype).to(memory_format=memory)
    with routing.use(ids), torch.autocast("cpu", torch.bfloat16):
        y = norm(x)
    parts = [(part - part.mean(0)) / (part.var(0, correction=0) + 1e-5).sqrt() for part in x.double().split(list(rows))]
    loose = {"atol": 0.02, "rtol": 0.02} if dtype == torch.bfloat16 else {"atol": 2e-4, "rtol": 2e-4}
    torch.testing.assert_close(y.double(), torch.cat(parts), **loose)


@pytest.mark.parametrize("eps", [1e-5, 1e-3], ids=["alike", "different"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
def test_a_lone_pixel_is_refused_before_any_statistics_change(
    memory: torch.memory_format, dtype: torch.dtype, eps: float
) -> None:
    routing = Routing(REGIONS)
    norm = RegionNorm(nn.BatchNorm2d(8), "statistics", routing, "bn")
    norm.regions["b"].eps = eps
    before = {name: buffer.clone() for name, buffer in norm.named_buffers()}
    x = torch.randn(3, 8, 1, 1).to(dtype).to(memory_format=memory)
    refused = pytest.raises(DataError, match="region 'b' has one value per channel")
    with routing.use(torch.tensor([0, 0, 1])), torch.autocast("cpu", torch.bfloat16), refused:
        norm(x)
    assert all(torch.equal(buffer, before[name]) for name, buffer in norm.named_buffers())


def test_packed_maps_are_slices_of_one_tensor_and_keep_values_and_names() -> None:
    routing = Routing(("a", "b"))
    norm = RegionNorm(nn.BatchNorm2d(3), "region", routing)
    for parameter in norm.parameters():
        nn.init.normal_(parameter)
    before = {name: (value, value.detach().clone()) for name, value in norm.named_parameters()}
    norm.pack_()
    first, second = (norm.regions[name].weight for name in "ab")
    assert second.data_ptr() == first.data_ptr() + 3 * 4
    for name, value in norm.named_parameters():
        assert value is before[name][0]
        assert torch.equal(value, before[name][1])
    with routing.use(torch.tensor([0, 0, 1, 1]), sort=True):
        norm(torch.randn(4, 3, 2, 2)).square().sum().backward()
    assert second.grad.data_ptr() == first.grad.data_ptr() + 3 * 4
    copied = copy.deepcopy(norm)
    norm.unpack_()
    copied.unpack_()
    assert first.data_ptr() != second.data_ptr() - 3 * 4
    assert {name: value.tolist() for name, value in copied.named_parameters()} == {
        name: value.tolist() for name, (value, _) in before.items()
    }
