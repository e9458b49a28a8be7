from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from lorkit.decompose.experts.strategies.geometry import LayerGeometry
from lorkit.decompose.experts.strategies.taps import shift


@settings(max_examples=60, deadline=None)
@given(
    size=st.tuples(st.integers(1, 7), st.integers(1, 7)),
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 3)),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 2)),
    padding=st.tuples(st.integers(0, 3), st.integers(0, 2)),
    dilation=st.tuples(st.integers(1, 2), st.integers(1, 3)),
)
def test_taps_of_any_geometry_are_the_convolution(
    size: tuple[int, int],
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
) -> None:
    if any(s + 2 * p < d * (k - 1) + 1 for s, p, d, k in zip(size, padding, dilation, kernel, strict=True)):
        return
    conv = nn.Conv2d(3, 2, kernel, stride, padding, dilation, bias=False).double()
    site = LayerGeometry.of(conv, "conv", 2)
    x = torch.randn(2, 3, *size, dtype=torch.float64)
    z = torch.einsum("nihw,rikl->nhwrkl", x, conv.weight)
    assert site.output(size) == tuple(conv(x).shape[2:])
    torch.testing.assert_close(shift(z, site, size).movedim(-1, 1), conv(x))


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
def test_an_odd_zero_of_the_same_size_is_added_at_the_end() -> None:
    conv = nn.Conv2d(3, 2, (4, 2), padding="same", dilation=(1, 3), bias=False).double()
    site = LayerGeometry.of(conv, "conv", 2)
    assert (site.before, site.padding) == ((1, 1), (3, 3))
    x = torch.randn(2, 3, 5, 6, dtype=torch.float64)
    z = torch.einsum("nihw,rikl->nhwrkl", x, conv.weight)
    torch.testing.assert_close(shift(z, site, (5, 6)).movedim(-1, 1), conv(x))


def test_gradients_of_first_and_second_order() -> None:
    conv = nn.Conv1d(2, 2, 3, stride=2, padding=1)
    site = LayerGeometry.of(conv, "conv", 2)
    z = torch.randn(2, 5, 2, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda value: shift(value, site, (5,)), (z,))
    assert torch.autograd.gradgradcheck(lambda value: shift(value, site, (5,)).square(), (z,))


def test_half_precision_is_summed_in_single() -> None:
    conv = nn.Conv1d(1, 1, 9, padding=4)
    z = torch.ones(1, 9, 1, 9, dtype=torch.bfloat16)
    z[0, :, 0, 0] = 256.0  # eight ones more vanish one by one in bfloat16
    middle = shift(z, LayerGeometry.of(conv, "conv", 1), (9,))[0, 4, 0]
    assert middle == torch.tensor(264.0).bfloat16()


def test_a_tap_beyond_the_border_reads_nothing() -> None:
    conv = nn.Conv2d(1, 1, 5, padding=4, bias=False)
    x = torch.randn(1, 1, 1, 1)
    z = torch.einsum("nihw,rikl->nhwrkl", x, conv.weight)
    torch.testing.assert_close(
        shift(z, LayerGeometry.of(conv, "conv", 1), (1, 1)).movedim(-1, 1), F.conv2d(x, conv.weight, padding=4)
    )
