"""Convolutions of small maps against torch's own, in float64."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from lorkit.decompose.experts.small_maps import convolve, covers, pull

KINDS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_product_is_the_convolution_and_its_gradients(data: st.DataObject) -> None:
    dims = data.draw(st.integers(1, 3))
    sizes = data.draw(st.lists(st.integers(1, 3), min_size=dims, max_size=dims))
    kernel = data.draw(st.lists(st.integers(1, 5), min_size=dims, max_size=dims))
    stride = data.draw(st.lists(st.integers(1, 3), min_size=dims, max_size=dims))
    padding = data.draw(st.lists(st.integers(0, 3), min_size=dims, max_size=dims))
    if any(size + 2 * before < taps for size, before, taps in zip(sizes, padding, kernel, strict=True)):
        return
    torch.manual_seed(0)
    bias = data.draw(st.booleans())
    layer = KINDS[dims](3, 5, tuple(kernel), tuple(stride), tuple(padding), bias=bias).double()  # type: ignore[arg-type]
    x = torch.randn(data.draw(st.sampled_from([2, 48])), 3, *sizes, dtype=torch.float64, requires_grad=True)
    if dims == 2 and data.draw(st.booleans()):
        layer, x = layer.to(memory_format=torch.channels_last), x.detach().to(memory_format=torch.channels_last)
        x.requires_grad_()
    expected = layer(x)
    dy = torch.randn_like(expected)
    with torch.no_grad():
        torch.testing.assert_close(convolve(layer, x, layer.weight, layer.bias), expected)
        found = pull(layer, dy, x, layer.weight, (True, True, bias))
    sources = [x, *layer.parameters()]
    for one, right in zip(found, torch.autograd.grad(expected, sources, dy), strict=False):
        assert one is not None
        torch.testing.assert_close(one, right)
    with torch.no_grad():
        assert pull(layer, dy, x, layer.weight, (False, False, False)) == (None, None, None)


@pytest.mark.parametrize(
    ("size", "stride", "rows", "expected"),
    [(1, 1, 1, True), (2, 1, 48, True), (2, 1, 47, False), (2, 2, 1, True), (3, 1, 48, False), (4, 2, 48, False)],
)
def test_small_maps_of_a_residual_network_are_products(size: int, stride: int, rows: int, expected: bool) -> None:
    assert covers(nn.Conv2d(2, 2, 3, stride, 1), torch.zeros(rows, 2, size, size)) == expected


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(2, 2, 1),
        nn.Conv2d(2, 2, 3, padding=1, groups=2),
        nn.Conv2d(2, 2, 3, padding=1, padding_mode="reflect"),
        nn.Conv2d(2, 2, 3, padding="same"),
        nn.Conv2d(2, 2, 3, padding=2, dilation=2),
        nn.Linear(2, 2),
    ],
)
def test_other_layers_are_not(layer: nn.Module) -> None:
    assert not covers(layer, torch.zeros(1, 2, 2, 2))
