"""Derivatives of a function: second ones, those of torch.func, and forward mode."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.autograd import forward_ad

Function = Callable[[Tensor], Tensor]


def twice(f: Function, x: Tensor, parameters: list[Tensor]) -> tuple[Tensor, ...]:
    """Return second derivatives in reverse mode, by the input and the parameters."""
    inputs = [x.detach().requires_grad_(), *parameters]
    first = torch.autograd.grad(f(inputs[0]).sin().sum(), inputs, create_graph=True)
    return torch.autograd.grad(sum(one.sin().sum() for one in first), inputs)


def derivatives(f: Function, x: Tensor) -> list[Tensor]:
    """Return what torch.func finds: gradients, and products with them and with the Jacobian."""

    def loss(x: Tensor) -> Tensor:
        return f(x).sin().sum()

    gradient, product = torch.func.jvp(torch.func.grad(loss), (x,), (x.cos(),))
    return [torch.func.grad(loss)(x), gradient, product, *torch.func.jvp(f, (x,), (x.cos(),))]


def forward_mode(f: Function, x: Tensor) -> Tensor:
    """Return the tangent in forward mode, in the direction cos(x)."""
    with forward_ad.dual_level():
        return forward_ad.unpack_dual(f(forward_ad.make_dual(x, x.cos()))).tangent
