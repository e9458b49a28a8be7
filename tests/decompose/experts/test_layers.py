"""Efficient knowledge separation against the formula of the paper, written out a sample at a time in float64.

Reference: W'_n = W0 + s_t * delta_t with t the region of sample n; y_n = op(x_n, W'_n).
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils.parametrize import register_parametrization
from torch.utils.checkpoint import checkpoint

from lorkit.decompose.config import ExpertConfig
from lorkit.decompose.errors import DataError, UsageError
from lorkit.decompose.experts import DepthwiseExperts, ExpertLayer, LowRankExperts, Routing
from lorkit.decompose.experts.strategies import STRATEGIES, get_strategy
from lorkit.decompose.experts.strategies.geometry import LayerGeometry

REGIONS = ("brain", "chest", "knee", "absent")
RANKS = {"brain": 2, "chest": 3, "knee": 1, "absent": 2}
SCRAMBLED = [2, 0, 1, 1, 0, 2, 1]
SORTED = [0, 0, 1, 1, 1, 2, 2]

KINDS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "linear": (lambda: nn.Linear(5, 4), (5,)),
    "linear-tokens-no-bias": (lambda: nn.Linear(5, 4, bias=False), (3, 5)),
    "conv1d-dilated": (lambda: nn.Conv1d(3, 4, 3, dilation=2, padding=1), (3, 9)),
    "conv2d-1x1": (lambda: nn.Conv2d(3, 5, 1, bias=False), (3, 4, 5)),
    "conv2d-strided": (lambda: nn.Conv2d(3, 5, 3, stride=2, padding=1), (3, 7, 6)),
    "conv2d-non-square": (lambda: nn.Conv2d(4, 3, (3, 5), stride=(1, 2), padding=(0, 2), bias=False), (4, 6, 7)),
    "conv2d-same": (lambda: nn.Conv2d(3, 4, (3, 5), padding="same", dilation=2), (3, 6, 6)),
    "conv2d-reflect": (lambda: nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect"), (3, 6, 6)),
    "conv3d": (lambda: nn.Conv3d(2, 3, (3, 1, 2), stride=(2, 1, 1), padding=(1, 0, 0)), (2, 5, 3, 4)),
    "transposed1d": (lambda: nn.ConvTranspose1d(4, 3, 3, stride=2, output_padding=1), (4, 5)),
    "transposed2d": (lambda: nn.ConvTranspose2d(4, 3, (3, 2), stride=2, padding=1, output_padding=1), (4, 4, 5)),
    "transposed2d-no-bias": (lambda: nn.ConvTranspose2d(2, 5, 2, stride=2, bias=False), (2, 3, 3)),
    "transposed3d": (lambda: nn.ConvTranspose3d(2, 3, 2, stride=2, dilation=1, output_padding=1), (2, 2, 3, 2)),
}
GROUPED: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "depthwise2d": (lambda: nn.Conv2d(4, 4, 3, stride=2, padding=1, groups=4, bias=False), (4, 6, 5)),
    "grouped1d": (lambda: nn.Conv1d(4, 6, 3, groups=2), (4, 7)),
    "grouped-transposed2d": (lambda: nn.ConvTranspose2d(4, 6, 2, stride=2, groups=2), (4, 3, 3)),
}


def build(
    make: Callable[[], nn.Module], layout: str, seed: int = 0, strategy: str = "auto"
) -> tuple[ExpertLayer, Routing]:
    torch.manual_seed(seed)
    routing = Routing(REGIONS)
    base = make().double()
    kind = DepthwiseExperts if getattr(base, "groups", 1) > 1 else LowRankExperts
    config = ExpertConfig(rank=4, ranks=RANKS, alpha=6, layout=layout, strategy=strategy)  # type: ignore[arg-type]
    layer = kind(base, config, routing, "layer")  # type: ignore[arg-type]
    for parameter in layer.parameters():
        nn.init.normal_(parameter, std=0.5)
    return layer, routing


def reference_delta(layer: ExpertLayer, region: str, layout: str) -> Tensor:
    """The update of a region, from its factors, by another route than the layer's."""
    if isinstance(layer, DepthwiseExperts):
        return layer.kernel[region]
    assert isinstance(layer, LowRankExperts)
    down, up, weight = layer.down[region], layer.up[region], layer.base.weight
    scale = 6 / RANKS[region]
    if layout == "reshape":
        return scale * torch.einsum("ar,rb->ab", up, down).reshape(weight.shape)
    if isinstance(layer.base, nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d):
        return scale * torch.einsum("ri,ro...->io...", down, up)
    return scale * torch.einsum("or,ri...->oi...", up, down)


def reference_operation(base: nn.Module, x: Tensor, weight: Tensor) -> Tensor:
    """The base's own forward with another weight, through torch's functional call."""
    state = {"weight": weight} | ({} if base.bias is None else {"bias": base.bias})
    return torch.func.functional_call(base, state, (x,))


def naive(layer: ExpertLayer, x: Tensor, gates: Tensor, layout: str) -> Tensor:
    rows = []
    for n in range(len(gates)):
        weight = layer.base.weight
        for t, region in enumerate(REGIONS):
            if gates[n, t] != 0:
                weight = weight + gates[n, t] * reference_delta(layer, region, layout)
        rows.append(reference_operation(layer.base, x[n : n + 1], weight))
    return torch.cat(rows)


def gradients(y: Tensor, cotangent: Tensor, layer: ExpertLayer, x: Tensor) -> dict[str, Tensor | None]:
    named = dict(layer.named_parameters()) | {"x": x}
    values = torch.autograd.grad(y, list(named.values()), cotangent, allow_unused=True)
    return dict(zip(named, values, strict=True))


def check(layer: ExpertLayer, routing: Routing, x: Tensor, selection: Tensor, layout: str) -> None:
    soft = selection.is_floating_point()
    gates = selection if soft else F.one_hot(selection, len(REGIONS)).double()
    x.requires_grad_()
    with routing.use(selection):
        y = layer(x)
        cotangent = torch.randn_like(y)
        ours = gradients(y, cotangent, layer, x)
    expected = naive(layer, x, gates, layout)
    theirs = gradients(expected, cotangent, layer, x)
    torch.testing.assert_close(y, expected, rtol=1e-10, atol=1e-10)
    for name, value in theirs.items():
        mine = ours[name]
        if value is None:
            assert mine is None or not mine.any(), name
        else:
            assert mine is not None, name
            torch.testing.assert_close(mine, value, rtol=1e-9, atol=1e-9, msg=name)


@pytest.mark.parametrize("layout", ["conv", "reshape"])
@pytest.mark.parametrize("kind", [*KINDS, *GROUPED])
@pytest.mark.parametrize("ids", [SCRAMBLED, SORTED, [1, 1, 1]], ids=["scrambled", "sorted", "single"])
def test_hard_routing_equals_the_naive_formula(kind: str, layout: str, ids: list[int]) -> None:
    make, shape = (KINDS | GROUPED)[kind]
    layer, routing = build(make, layout)
    check(layer, routing, torch.randn(len(ids), *shape, dtype=torch.float64), torch.tensor(ids), layout)


ROUTES = {
    "scrambled": SCRAMBLED,
    "sorted": SORTED,
    "equal": [0, 0, 1, 1, 2, 2],
    "equal-scrambled": [3, 0, 1, 0, 1, 3],
    "one-each": [0, 1, 2, 3],
    "single": [1, 1, 1],
}
MEMORY = {
    3: (torch.contiguous_format, torch.channels_last),
    4: (torch.contiguous_format, torch.channels_last_3d),
}
"""The memory formats of a sample of so many axes, if it has several."""


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_strategy_equals_the_naive_formula_or_refuses(strategy: str, kind: str) -> None:
    make, shape = KINDS[kind]
    reason = get_strategy(strategy).refusal(LayerGeometry.of(make(), "conv", 1))  # type: ignore[arg-type]
    if reason is not None:
        with pytest.raises(UsageError, match=reason):
            build(make, "conv", strategy=strategy)
        return
    for name, ids in ROUTES.items():
        for memory in MEMORY.get(len(shape), (torch.contiguous_format,)):
            layer, routing = build(make, "conv", strategy=strategy)
            x = torch.randn(len(ids), *shape, dtype=torch.float64).to(memory_format=memory)
            if strategy == "grouped" and len(ids) % len(set(ids)):
                with routing.use(torch.tensor(ids)), pytest.raises(DataError, match="as many rows of every region"):
                    layer(x)
                continue
            try:
                check(layer, routing, x, torch.tensor(ids), "conv")
            except AssertionError as error:
                error.add_note(f"with rows {name} in {memory}")
                raise


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_plain_images_stay_plain_and_channels_last_stay_so(strategy: str) -> None:
    layer, routing = build(lambda: nn.Conv2d(4, 6, 3, padding=1), "conv", strategy=strategy)
    x = torch.randn(4, 4, 5, 5, dtype=torch.float64)
    with routing.use(torch.tensor([0, 0, 1, 1])):
        assert layer(x).is_contiguous()
        layer.to(memory_format=torch.channels_last)
        last = x.to(memory_format=torch.channels_last)
        assert layer(last).is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("make", [KINDS["conv2d-strided"], KINDS["conv2d-1x1"], KINDS["linear"]])
def test_every_strategy_under_bfloat16_autocast(strategy: str, make: tuple[Callable[[], nn.Module], Any]) -> None:
    if get_strategy(strategy).refusal(LayerGeometry.of(make[0](), "conv", 1)):  # type: ignore[arg-type]
        return
    layer, routing = build(make[0], "conv", strategy=strategy)
    layer.float()
    x = torch.randn(6, *make[1], requires_grad=True)
    with routing.use(torch.tensor([0, 0, 1, 1, 2, 2])):
        full = layer(x)
        cotangent = torch.randn_like(full)
        expected = gradients(full, cotangent, layer, x)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            half = layer(x)
            found = gradients(half, cotangent.bfloat16(), layer, x)
    assert half.dtype == torch.bfloat16
    assert (half.float() - full).abs().max() < 0.03 * full.abs().max()
    for name, value in expected.items():
        if value is not None:
            other = found[name]
            assert other is not None
            assert other.dtype == torch.float32
            assert (other - value).norm() < 0.03 * value.norm() + 1e-6, name


@pytest.mark.parametrize("strategy", ["taps", "merged", "split", "grouped", "sampled"])
def test_gradients_of_factors_need_no_copy(strategy: str) -> None:
    """They lie in the memory order of their factor, or the optimiser would read them wrongly or copy them."""
    layer, routing = build(lambda: nn.Conv2d(8, 16, 3, padding=1), "conv", strategy=strategy)
    layer.to(memory_format=torch.channels_last)
    x = torch.randn(6, 8, 5, 5, dtype=torch.float64).to(memory_format=torch.channels_last)
    with routing.use(torch.tensor([0, 0, 1, 1, 2, 2])):
        layer(x).sum().backward()
    for parameter in layer.parameters():
        assert parameter.grad is None or parameter.grad.stride() == parameter.stride()


def test_a_layer_can_be_told_its_strategy_by_pattern() -> None:
    config = ExpertConfig(strategies={"stem": "split", "layer*": "taps"}, strategy="merged")
    names = {"stem": "split", "layer1.conv": "taps", "head": "merged"}
    for name, expected in names.items():
        layer = LowRankExperts(nn.Conv2d(3, 4, 3), config, Routing(REGIONS), name)
        assert layer.selector.strategy((4, 3, 6, 6), 4).name == expected


def test_an_unknown_strategy_is_refused() -> None:
    with pytest.raises(UsageError, match="strategy 'tap'"):
        LowRankExperts(nn.Conv2d(3, 4, 3), ExpertConfig(strategy="tap"), Routing(REGIONS))


@pytest.mark.parametrize("layout", ["conv", "reshape"])
@pytest.mark.parametrize("kind", [*KINDS, *GROUPED])
def test_soft_routing_equals_the_naive_formula(kind: str, layout: str) -> None:
    make, shape = (KINDS | GROUPED)[kind]
    layer, routing = build(make, layout)
    gates = torch.softmax(torch.randn(3, len(REGIONS), dtype=torch.float64), dim=1)
    check(layer, routing, torch.randn(3, *shape, dtype=torch.float64), gates, layout)


@settings(max_examples=40, deadline=None)
@given(
    inputs=st.integers(1, 5),
    outputs=st.integers(1, 5),
    kernel=st.tuples(st.integers(1, 3), st.integers(1, 4)),
    stride=st.integers(1, 3),
    padding=st.integers(0, 2),
    bias=st.booleans(),
    layout=st.sampled_from(["conv", "reshape"]),
    ids=st.lists(st.integers(0, 3), min_size=1, max_size=6),
)
def test_any_convolution_equals_the_naive_formula(
    inputs: int,
    outputs: int,
    kernel: tuple[int, int],
    stride: int,
    padding: int,
    bias: bool,
    layout: str,
    ids: list[int],
) -> None:
    layer, routing = build(lambda: nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=bias), layout)
    check(layer, routing, torch.randn(len(ids), inputs, 5, 6, dtype=torch.float64), torch.tensor(ids), layout)


def test_gradient_of_the_gates_reaches_a_router() -> None:
    layer, routing = build(KINDS["conv2d-strided"][0], "conv")
    gates = torch.rand(2, 4, dtype=torch.float64, requires_grad=True)
    x = torch.randn(2, 3, 7, 6, dtype=torch.float64)

    def run(values: Tensor) -> Tensor:
        with routing.use(values):
            return layer(x)

    assert torch.autograd.gradcheck(run, (gates,))


@pytest.mark.parametrize("layout", ["conv", "reshape"])
def test_an_absent_region_gets_no_gradient_and_others_only_their_own_rows(layout: str) -> None:
    layer, routing = build(KINDS["conv2d-strided"][0], layout)
    x = torch.randn(7, 3, 7, 6, dtype=torch.float64)
    with routing.use(torch.tensor(SCRAMBLED)):
        y = layer(x)
    y[torch.tensor(SCRAMBLED) == 1].sum().backward()  # the loss sees chest alone
    for name, parameter in layer.named_parameters():
        region = name.rsplit(".", 1)[1]
        if region in ("brain", "knee", "absent"):
            assert parameter.grad is None or not parameter.grad.any(), name
        else:
            assert parameter.grad is not None, name
            assert parameter.grad.any(), name


def test_new_experts_change_nothing() -> None:
    routing = Routing(REGIONS)
    layer = LowRankExperts(nn.Conv2d(3, 4, 3), ExpertConfig(), routing)
    x = torch.randn(4, 3, 6, 6)
    with routing.use(torch.tensor([0, 1, 2, 3])):
        torch.testing.assert_close(layer(x), layer.base(x))


def test_state_keys_carry_the_region_and_the_layer_has_no_weight() -> None:
    layer, _ = build(KINDS["conv2d-strided"][0], "conv")
    assert {key for key in layer.state_dict() if "chest" in key} == {"down.chest", "up.chest"}
    assert not hasattr(layer, "weight")


@pytest.mark.parametrize(
    ("layout", "expected"), [("conv", 8 * (3 * 9 + 16)), ("reshape", 8 * 9 * (3 + 16))], ids=["conv", "reshape"]
)
def test_parameter_counts_of_the_two_layouts(layout: str, expected: int) -> None:
    layer = LowRankExperts(nn.Conv2d(3, 16, 3), ExpertConfig(layout=layout), Routing(("a",)))  # type: ignore[arg-type]
    assert layer.down["a"].numel() + layer.up["a"].numel() == expected


def test_reshape_counts_of_a_volume_convolution_are_the_authors() -> None:
    config = ExpertConfig(rank=4, layout="reshape")
    layer = LowRankExperts(nn.Conv3d(6, 10, 3), config, Routing(("a",)))
    assert layer.down["a"].numel() + layer.up["a"].numel() == 4 * (27 * 6 + 9 * 10)  # lorkd.md section 2


def test_rows_beyond_the_samples_are_windows_with_the_batch_outermost() -> None:
    layer, routing = build(KINDS["linear"][0], "conv")
    x = torch.randn(7, 2, 5, dtype=torch.float64)
    with routing.use(torch.tensor(SCRAMBLED)):
        windows = layer(x.flatten(0, 1))
        tokens = layer(x)
    torch.testing.assert_close(windows, tokens.flatten(0, 1))
    gates = torch.rand(7, 4, dtype=torch.float64)
    with routing.use(gates):
        torch.testing.assert_close(layer(x.flatten(0, 1)), layer(x).flatten(0, 1))


def test_a_batch_that_is_not_outermost_is_refused_by_name() -> None:
    layer, routing = build(KINDS["linear"][0], "conv")
    with routing.use(torch.tensor([0, 1, 2])), pytest.raises(DataError, match="layer 'layer' got 7 rows for 3"):
        layer(torch.randn(7, 5, dtype=torch.float64))


def test_a_layer_without_a_region_raises() -> None:
    layer, _ = build(KINDS["linear"][0], "conv")
    with pytest.raises(UsageError, match="ran without a region"):
        layer(torch.randn(2, 5, dtype=torch.float64))


def test_no_region_is_the_base() -> None:
    layer, routing = build(KINDS["linear"][0], "conv")
    x = torch.randn(2, 5, dtype=torch.float64)
    with routing.use(None):
        assert torch.equal(layer(x), layer.base(x))
    with routing.without_experts(), routing.use("chest"):
        assert torch.equal(layer(x), layer.base(x))


@pytest.mark.parametrize("layout", ["conv", "reshape"])
def test_bfloat16_autocast_and_channels_last(layout: str) -> None:
    layer, routing = build(lambda: nn.Conv2d(8, 16, 3, padding=1), layout)
    layer.float().to(memory_format=torch.channels_last)
    x = torch.randn(7, 8, 6, 6).to(memory_format=torch.channels_last)
    with routing.use(torch.tensor(SORTED)):
        full = layer(x)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            half = layer(x)
            half.float().sum().backward()
    assert half.dtype == torch.bfloat16
    assert full.is_contiguous(memory_format=torch.channels_last)
    assert (half.float() - full).abs().max() < 0.05 * full.abs().max()
    assert all(p.grad is not None for name, p in layer.named_parameters() if "absent" not in name)


def test_deepcopy_after_a_forward_and_inside_a_scope() -> None:
    layer, routing = build(KINDS["conv2d-strided"][0], "conv")
    x = torch.randn(7, 3, 7, 6, dtype=torch.float64)
    gates = torch.rand(7, 4, dtype=torch.float64, requires_grad=True) * 2  # has a graph
    with routing.use(gates):
        layer(x)
        twin = copy.deepcopy(layer)
    with pytest.raises(UsageError, match="without a region"):
        twin(x)
    with twin.routing.use("chest"), routing.use("chest"):
        assert torch.equal(twin(x), layer(x))
    assert twin.routing is not routing


@pytest.mark.parametrize("layout", ["conv", "reshape"])
def test_activation_checkpointing_recomputes_in_the_scope_of_the_step(layout: str) -> None:
    layer, routing = build(KINDS["conv2d-strided"][0], layout)
    x = torch.randn(7, 3, 7, 6, dtype=torch.float64, requires_grad=True)
    with routing.use(torch.tensor(SCRAMBLED)):
        expected = torch.autograd.grad(layer(x).square().sum(), list(layer.base.parameters()))
        y = checkpoint(layer, x, use_reentrant=False)
        ours = torch.autograd.grad(y.square().sum(), list(layer.base.parameters()))
    torch.testing.assert_close(ours, expected)


def test_double_precision_stays_double_under_autocast() -> None:
    layer, routing = build(KINDS["conv2d-strided"][0], "conv", strategy="taps")
    x = torch.randn(4, 3, 7, 6, dtype=torch.float64)
    with routing.use(torch.tensor([0, 0, 1, 1])):
        expected = layer(x)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert torch.equal(layer(x), expected)


@pytest.mark.parametrize("layout", ["conv", "reshape"])
@pytest.mark.parametrize("gates", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("model", [torch.float32, torch.float64, torch.bfloat16])
def test_gates_of_another_precision_do_not_change_the_models(
    model: torch.dtype, gates: torch.dtype, layout: str
) -> None:
    layer, routing = build(KINDS["conv2d-strided"][0], layout)
    x = torch.randn(3, 3, 7, 6, dtype=torch.float64)
    values = torch.full((3, 4), 0.25, dtype=gates)  # exact in all of them
    with routing.use(values.double()):
        expected = layer(x)
    with routing.use(values):
        found = layer.to(model)(x.to(model))
    assert found.dtype == model
    tolerance = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 0.05}[model]
    assert (found.double() - expected).abs().max() < tolerance * expected.abs().max()


def test_an_image_without_a_batch_is_refused() -> None:
    layer, routing = build(KINDS["conv2d-1x1"][0], "conv", strategy="merged")
    with routing.use("chest"), pytest.raises(DataError, match=r"layer 'layer' got an input of shape \(3, 3, 3\)"):
        layer(torch.randn(3, 3, 3, dtype=torch.float64))


def test_an_empty_batch_passes() -> None:
    layer, routing = build(KINDS["conv2d-1x1"][0], "conv")
    with routing.use("chest"):
        assert layer(torch.randn(0, 3, 4, 5, dtype=torch.float64)).shape == (0, 5, 4, 5)


@pytest.mark.parametrize("ids", [SCRAMBLED, SORTED, [1, 1, 1]], ids=["scrambled", "sorted", "single"])
@pytest.mark.parametrize(("layout", "strategy"), [*(("conv", name) for name in STRATEGIES), ("reshape", "auto")])
@pytest.mark.parametrize("kind", ["linear", "conv2d-1x1", "conv2d-strided", "conv2d-reflect", "transposed2d", *GROUPED])
def test_hooks_on_the_base_run_and_see_the_same_whatever_computes_the_layer(
    kind: str, layout: str, strategy: str, ids: list[int]
) -> None:
    make, shape = {**KINDS, **GROUPED}[kind]
    try:
        layer, routing = build(make, layout, strategy=strategy)
    except UsageError:
        pytest.skip("the strategy does not compute this layer")
    if strategy == "grouped" and kind not in GROUPED and len(set(ids)) > 1:
        pytest.skip("the strategy takes equal regions alone")
    seen: list[Tensor] = []
    layer.base.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    layer.base.register_forward_hook(lambda module, inputs, output: seen.append(output))
    x = torch.randn(len(ids), *shape, dtype=torch.float64)
    check(layer, routing, x, torch.tensor(ids), layout)
    order = torch.tensor(ids).argsort(stable=True)
    rows, output = seen[:2]
    torch.testing.assert_close(rows, x[order])
    torch.testing.assert_close(output, copy.deepcopy(layer.base)(x[order]))


@pytest.mark.parametrize("layout", ["conv", "reshape"])
def test_gates_mix_the_outputs_of_single_experts(layout: str) -> None:
    torch.manual_seed(0)
    routing = Routing(("a", "b", "c"))
    config = ExpertConfig(rank=2, ranks={"b": 3}, layout=layout)  # type: ignore[arg-type]
    layer = LowRankExperts(nn.Conv2d(3, 4, 3, padding=1).double(), config, routing, "layer")
    for parameter in layer.parameters():
        nn.init.normal_(parameter)
    x, gates = torch.randn(5, 3, 4, 4, dtype=torch.float64), torch.rand(5, 3, dtype=torch.float64)
    with torch.no_grad():
        base = layer.base(x)
        expected = base.clone()
        for index, region in enumerate(routing.regions):
            with routing.use(region):
                expected += gates[:, index].view(-1, 1, 1, 1) * (layer(x) - base)
        with routing.use(gates):
            torch.testing.assert_close(layer(x), expected)


class _Doubled(nn.Module):
    def forward(self, value: Tensor) -> Tensor:
        return 2 * value


def test_a_computed_factor_of_one_region_is_used() -> None:
    make, shape = KINDS["conv2d-strided"]
    layer, routing = build(make, "conv")
    assert isinstance(layer, LowRankExperts)
    x = torch.randn(len(SORTED), *shape, dtype=torch.float64)
    other = copy.deepcopy(layer)
    with torch.no_grad():
        other.down["chest"].mul_(2)
    register_parametrization(layer.down, "chest", _Doubled())
    with routing.use(torch.tensor(SORTED)):
        found = layer(x)
    with other.routing.use(torch.tensor(SORTED)):
        torch.testing.assert_close(found, other(x))
