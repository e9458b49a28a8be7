"""Low-rank factors of one layer and their operation, for all layer kinds that are linear in their weight.

Shapes: O output, I input channels, k = (k0, k1, ...) the kernel (empty for linear layers), r the rank, N rows. Weights
are (O, I, *k), of transposed convolutions (I, O, *k). Layout `conv`: down (r, I, *k) and up (O, r), of transposed
convolutions down (r, I) and up (r, O, *k). Layout `reshape` (LoRKD's): up (W0*k0, r*k0) and down (r*k0, W1*k1*...) with
W0, W1 the first two sizes of the weight.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, cast, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import forward_ad

from lorkit.decompose.config.methods import FactorLayout
from lorkit.decompose.errors import UsageError

Conv = nn.Conv1d | nn.Conv2d | nn.Conv3d
Transposed = nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d
Base = nn.Linear | Conv | Transposed
TRANSPOSED: tuple[type[nn.Module], ...] = get_args(Transposed)
KINDS: tuple[type[nn.Module], ...] = get_args(Base)

_CONV: dict[int, Callable[..., Tensor]] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_TRANSPOSED: dict[int, Callable[..., Tensor]] = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def hooked(module: nn.Module) -> bool:
    """Return whether a module has hooks or its own `forward`, so that calling it does more than its class."""
    return "forward" in vars(module) or any(vars(module).get(key) for key in _HOOKS)


def require_exact(base: nn.Module, layer: str) -> None:
    """Raise UsageError unless a base is exactly of its class, without parametrizations.

    A subclass may use its weight in another way, and a computed weight cannot be written.
    """
    own = base._parameters  # empty in the replicas of DataParallel
    if type(base) in KINDS and (not own or own.get("weight") is not None):
        return
    raise UsageError(
        f"the base of layer '{layer}' is a {type(base).__name__} with its own forward or a computed weight",
        required="exactly a Linear, Conv or ConvTranspose layer that holds its weight",
        fix="fold it into the weight, as parametrize.remove_parametrizations or prune.remove do",
    )


def factors(base: Base, rank: int, layout: FactorLayout) -> tuple[nn.Parameter, nn.Parameter]:
    """Return new (down, up) of one region: down uniform as in torch's layers, up zero, so the update starts at 0."""
    size = tuple(base.weight.shape)
    if layout == "reshape":
        first = size[2] if len(size) > 2 else 1
        down_shape: tuple[int, ...] = (rank * first, size[1] * math.prod(size[3:]))
        up_shape: tuple[int, ...] = (size[0] * first, rank * first)
    elif type(base) in TRANSPOSED:
        down_shape, up_shape = (rank, size[0]), (rank, *size[1:])
    else:
        down_shape, up_shape = (rank, *size[1:]), (size[0], rank)
    down = nn.Parameter(base.weight.new_empty(down_shape))
    nn.init.kaiming_uniform_(down, a=math.sqrt(5))
    return down, nn.Parameter(base.weight.new_zeros(up_shape))


def delta(base: Base, down: Tensor, up: Tensor, layout: FactorLayout) -> Tensor:
    """Return the unscaled update of the weight, in the shape of the weight."""
    transposed = layout == "conv" and type(base) in TRANSPOSED
    product = down.mT @ up.flatten(1) if transposed else up @ down.flatten(1)
    return product.view(base.weight.shape)


def apply(base: Base, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Run the operation of `base` (stride, padding, dilation, groups) with another weight and bias."""
    if isinstance(base, nn.Linear):
        return F.linear(x, weight, bias)
    if isinstance(base, Conv):
        # the only place that handles every padding mode
        return cast(Tensor, cast(Any, base)._conv_forward(x, weight, bias))
    return _TRANSPOSED[weight.dim() - 2](
        x, weight, bias, base.stride, base.padding, base.output_padding, base.groups, base.dilation
    )


def apply_grouped(base: Conv, x: Tensor, weight: Tensor, groups: int) -> Tensor:
    """Run a zero-padded convolution with another weight in another number of groups."""
    convolve = _CONV[weight.dim() - 2]
    return convolve(x, weight, None, base.stride, base.padding, base.dilation, groups)


def pointwise(base: Base, x: Tensor, weight: Tensor) -> Tensor:
    """Mix the channels of `x` with a matrix (out, in): a linear layer, or a 1 x 1 convolution."""
    if isinstance(base, nn.Linear):
        return F.linear(x, weight)
    spatial = base.weight.dim() - 2
    return _CONV[spatial](x, weight.view(*weight.shape, *(1,) * spatial))


def low_rank(base: Base, x: Tensor, down: Tensor, up: Tensor, gates: Tensor | None = None) -> Tensor:
    """Return the output of the update in layout `conv`, without bias.

    Args:
        base: The layer.
        x: Its input.
        down: Factor to r channels; for soft gates those of several regions stacked along r.
        up: Factor from r channels, scaled.
        gates: (N, r) weights of the r channels, for soft gates.
    """
    transposed = type(base) in TRANSPOSED
    low = pointwise(base, x, down) if transposed else apply(base, x, down)
    if gates is not None:
        low = low * spread(base, low, gates)
    return apply(base, low, up) if transposed else pointwise(base, low, up)


def spread(base: Base, x: Tensor, gates: Tensor) -> Tensor:
    """Reshape (N, r) or (N, 1) gates to broadcast over the channels of `x`."""
    middle = (1,) * (x.dim() - 2)
    if isinstance(base, nn.Linear):
        return gates.view(len(gates), *middle, gates.shape[1]).to(x.dtype)
    return gates.view(*gates.shape, *middle).to(x.dtype)


def transformed() -> bool:
    """Return whether `torch.func` or forward-mode derivatives are active.

    They do not support autograd functions that define only a backward, so equivalent plain operations are used instead.
    """
    if torch.compiler.is_compiling():
        return False
    return torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0
