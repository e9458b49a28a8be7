from __future__ import annotations

import pytest
import torch
from torch import nn

from lorkit.decompose.config.methods import FactorLayout
from lorkit.decompose.experts import algebra


@pytest.mark.parametrize(
    ("base", "layout", "down", "up"),
    [
        (nn.Linear(5, 7), "conv", (2, 5), (7, 2)),
        (nn.Linear(5, 7), "reshape", (2, 5), (7, 2)),
        (nn.Conv2d(5, 7, (3, 2)), "conv", (2, 5, 3, 2), (7, 2)),
        (nn.Conv2d(5, 7, (3, 2)), "reshape", (6, 10), (21, 6)),
        (nn.Conv3d(5, 7, 3), "reshape", (6, 45), (21, 6)),
        (nn.ConvTranspose2d(5, 7, 3), "conv", (2, 5), (2, 7, 3, 3)),
        (nn.ConvTranspose2d(5, 7, 3), "reshape", (6, 21), (15, 6)),
    ],
)
def test_factor_shapes(base: algebra.Base, layout: FactorLayout, down: tuple[int, ...], up: tuple[int, ...]) -> None:
    first, second = algebra.factors(base, 2, layout)
    assert (tuple(first.shape), tuple(second.shape)) == (down, up)
    assert not second.any()
    assert first.any()
    assert algebra.delta(base, first, second, layout).shape == base.weight.shape


def test_the_first_factor_is_drawn_as_torch_draws_weights() -> None:
    torch.manual_seed(0)
    down, _ = algebra.factors(nn.Conv2d(64, 8, 3), 16, "conv")
    bound = (64 * 9) ** -0.5
    assert 0.95 * bound < down.abs().max() <= bound


def test_rank_of_the_conv_layout_is_bounded_and_of_reshape_times_the_kernel() -> None:
    torch.manual_seed(0)
    base = nn.Conv2d(16, 40, 3).double()
    for layout, expected in (("conv", 2), ("reshape", 2 * 9)):
        down, up = algebra.factors(base, 2, layout)  # type: ignore[arg-type]
        nn.init.normal_(up)
        update = algebra.delta(base, down, up, layout)  # type: ignore[arg-type]
        assert torch.linalg.matrix_rank(update.flatten(1)) == expected


@pytest.mark.parametrize("kind", algebra.KINDS)
def test_apply_is_the_layer_itself(kind: type[nn.Module]) -> None:
    dims = 0 if kind is nn.Linear else int(kind.__name__[-2])
    base = kind(3, 4) if dims == 0 else kind(3, 4, 2, stride=2)
    x = torch.randn(2, 3, *(5,) * dims)
    assert torch.equal(algebra.apply(base, x, base.weight, base.bias), base(x))  # type: ignore[arg-type]
