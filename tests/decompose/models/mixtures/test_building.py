"""Gated layers against the live expert layers, in float64, for hard ids and soft gates."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from lorkit.decompose.documents.mixture import GatedForm, GatedSpec
from lorkit.decompose.errors import UsageError
from lorkit.decompose.experts import ExpertConfig, Routing, add_experts_, factor_parameters
from lorkit.decompose.models.mixtures.building import gated_backbone, gated_specs

SAMPLES = 5


def live_layer(layer: nn.Module, adapters: int, config: ExpertConfig) -> tuple[nn.Module, Routing]:
    """Return a network of one layer with adapters whose updates matter, in float64 and eval mode."""
    torch.manual_seed(3)
    network = nn.Sequential(layer)
    routing = add_experts_(network, [f"a{index}" for index in range(adapters)], config)
    with torch.no_grad():
        for value in factor_parameters(network):
            value.normal_(0, 0.3)
    return network.double().eval(), routing


def gated_outputs(
    network: nn.Module, routing: Routing, x: Tensor, gates: Tensor, form: GatedForm | None = None
) -> tuple[Tensor, GatedForm]:
    """Return what the deployable form computes for ids (N,) or gates (N, M), and its form."""
    ids = gates.dim() == 1
    specs = gated_specs(network, [routing], tuple(x.shape[1:]), picked=ids)
    if form is not None:
        specs = [spec.with_changes(form=form) for spec in specs]
    gated, (held,) = gated_backbone(network, specs, [routing])
    held.pick(gates) if ids else held.weigh(gates)
    return gated(x), specs[0].form


def live_outputs(network: nn.Module, routing: Routing, x: Tensor, gates: Tensor) -> Tensor:
    with routing.use(gates):
        return network(x)


def check(layer: nn.Module, x: Tensor, config: ExpertConfig, adapters: int, form: GatedForm | None = None) -> GatedForm:
    network, routing = live_layer(layer, adapters, config)
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(adapters, (SAMPLES,), generator=generator)
    soft = torch.randn(SAMPLES, adapters, generator=generator, dtype=torch.float64).softmax(1)
    chosen = form
    with torch.no_grad():
        for gates in (ids, soft):
            found, chosen = gated_outputs(network, routing, x, gates, form)
            expected = live_outputs(network, routing, x, gates)
            torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
    assert chosen is not None
    return chosen


CONVS: dict[int, type[nn.Module]] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
TRANSPOSED: dict[int, type[nn.Module]] = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}


@settings(max_examples=40, deadline=None)
@given(
    dims=st.integers(1, 3),
    layout=st.sampled_from(["conv", "reshape"]),
    transposed=st.booleans(),
    channels=st.tuples(st.integers(1, 7), st.integers(1, 7)),
    kernel=st.lists(st.integers(1, 3), min_size=3, max_size=3),
    stride=st.integers(1, 2),
    padding=st.integers(0, 1),
    dilation=st.integers(1, 2),
    bias=st.booleans(),
    adapters=st.integers(1, 4),
    side=st.integers(1, 4),
    rank=st.integers(1, 3),
)
def test_convolutions_equal_the_live_layer(
    dims: int,
    layout: str,
    transposed: bool,
    channels: tuple[int, int],
    kernel: list[int],
    stride: int,
    padding: int,
    dilation: int,
    bias: bool,
    adapters: int,
    side: int,
    rank: int,
) -> None:
    sides = tuple(kernel[:dims])
    least = max((size - 1) * dilation + 1 for size in sides) if not transposed else 1 + padding
    x = torch.randn(SAMPLES, channels[0], *(least + side - 1,) * dims, dtype=torch.float64)
    kind = (TRANSPOSED if transposed else CONVS)[dims]
    layer = kind(*channels, sides, stride=stride, padding=padding, dilation=dilation, bias=bias)
    if transposed and any((x.shape[2] - 1) * stride - 2 * padding + dilation * (size - 1) + 1 < 1 for size in sides):
        return
    config = ExpertConfig(rank=rank, ranks={"a0": rank + 1}, layout=layout)
    check(layer, x, config, adapters)
    # the form of its layout, whichever is cheaper
    check(layer, x, config, adapters, "blocks" if layout == "reshape" and sides[0] > 1 else "low-rank")
    check(layer, x, config, adapters, "full")


def test_the_updates_of_these_tests_matter() -> None:
    network, routing = live_layer(nn.Conv2d(4, 5, 3), 2, ExpertConfig(rank=2))
    x = torch.randn(2, 4, 6, 6, dtype=torch.float64)
    outputs = live_outputs(network, routing, x, torch.tensor([0, 1]))
    base = network[0].base(x)
    assert all((outputs[row] - base[row]).abs().max() > 0.1 for row in range(2))


@pytest.mark.parametrize("layout", ["conv", "reshape"])
@pytest.mark.parametrize("form", [None, "low-rank", "mixed", "full"])
@pytest.mark.parametrize("shape", [(6,), (7, 6), (2, 3, 6)])
def test_linear_layers_equal_the_live_layer(layout: str, form: GatedForm, shape: tuple[int, ...]) -> None:
    x = torch.randn(SAMPLES, *shape, dtype=torch.float64)
    check(nn.Linear(6, 4), x, ExpertConfig(rank=2, ranks={"a1": 3}, layout=layout), 3, form)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("dims", [1, 2, 3])
def test_weights_per_sample_equal_the_live_layer(dims: int, bias: bool) -> None:
    layer = CONVS[dims](6, 4, 1, bias=bias)
    x = torch.randn(SAMPLES, 6, *(3,) * dims, dtype=torch.float64)
    check(layer, x, ExpertConfig(rank=2), 3, "mixed")


@pytest.mark.parametrize("groups", [2, 4])
def test_grouped_layers_equal_the_live_layer(groups: int) -> None:
    layer = nn.Conv2d(4, 8, 3, stride=2, padding=1, groups=groups)
    x = torch.randn(SAMPLES, 4, 6, 6, dtype=torch.float64)
    assert check(layer, x, ExpertConfig(depthwise=True), 3) == "full"


def test_padding_of_reflected_pixels_is_kept() -> None:
    x = torch.randn(SAMPLES, 4, 6, 6, dtype=torch.float64)
    for layout in ("conv", "reshape"):
        layer = nn.Conv2d(4, 5, 3, padding=1, padding_mode="reflect")
        check(layer, x, ExpertConfig(rank=2, layout=layout), 3, "blocks" if layout == "reshape" else "low-rank")


def test_transposed_convolutions_keep_their_output_padding() -> None:
    x = torch.randn(SAMPLES, 4, 3, 3, dtype=torch.float64)
    for layout in ("conv", "reshape"):
        layer = nn.ConvTranspose2d(4, 5, 2, stride=2, output_padding=1)
        check(layer, x, ExpertConfig(rank=2, layout=layout), 3, "blocks" if layout == "reshape" else "low-rank")


def test_rows_may_be_several_windows_of_a_sample() -> None:
    ids = torch.tensor([2, 0, 1, 1, 0])
    for layer, shape in ((nn.Linear(6, 4), (7, 6)), (nn.Conv2d(6, 4, 1), (6, 2, 2))):
        network, routing = live_layer(layer, 3, ExpertConfig(rank=2))
        x = torch.randn(SAMPLES * 4, *shape, dtype=torch.float64)
        for form in ("low-rank", "mixed", "full"):
            gated, (held,) = gated_backbone(network, [spec(form, [2, 2, 2])], [routing])
            held.pick(ids)
            torch.testing.assert_close(gated(x), live_outputs(network, routing, x, ids), rtol=1e-10, atol=1e-10)


def spec(form: str, ranks: Sequence[int]) -> GatedSpec:
    return GatedSpec.model_validate({"name": "0", "form": form, "ranks": list(ranks), "group": 0})


def test_gates_of_no_batch_are_refused() -> None:
    network, routing = live_layer(nn.Linear(6, 4), 2, ExpertConfig(rank=2))
    gated, _ = gated_backbone(network, [spec("low-rank", [2, 2])], [routing])
    with pytest.raises(UsageError, match="without gates"):
        gated(torch.randn(2, 6, dtype=torch.float64))
