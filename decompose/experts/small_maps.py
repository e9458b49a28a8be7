"""Convolutions of maps that are no larger than what their kernel covers, as one matrix product.

The last stages of a ResNet at 32 x 32 pixels have maps of 2 x 2 and 1 x 1 positions. Of the nine taps of a kernel at
such a position only four or one meet the map, the others meet padding, but kernels of the CPU compute all of them. Each
output depends on the whole map, so the layer is a dense one, whose matrix has some taps of the weight for each output.

Shapes: N rows, I input and O output channels, S positions of the input and Q of the output; weights (O, I, *k).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from functools import lru_cache
from typing import cast

import torch
from torch import Tensor, nn

from lorkit.decompose.experts import algebra

_backward = torch.ops.aten.convolution_backward
_KINDS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_MOST = 4
"""Positions of the input; with more, hardly any tap meets padding."""
_MANY = 48
"""Rows from which on a matrix for several outputs, larger than the weight, costs less than it saves."""
Gradients = tuple[Tensor | None, Tensor | None, Tensor | None]
_Taps = tuple[slice, ...]


def covers(base: nn.Module, x: Tensor) -> bool:
    """Return whether every output of a layer depends on the whole of such a small map, and a product is faster."""
    if x.device.type != "cpu" or not isinstance(base, _KINDS) or math.prod(x.shape[2:]) > _MOST:
        return False
    if x.dim() != len(base.kernel_size) + 2 or not len(x):
        return False  # one image without the axis of the batch, or none
    if base.groups != 1 or base.padding_mode != "zeros" or isinstance(base.padding, str) or max(base.kernel_size) == 1:
        return False
    outputs = len(_taps_of(base, x))
    return outputs == 1 or (outputs > 1 and len(x) >= _MANY)


def convolve(base: algebra.Base, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Run the operation of `base` with another weight and bias, without derivatives."""
    if not isinstance(base, _KINDS) or not covers(base, x):
        return algebra.apply(base, x, weight, bias)
    y = _flat(x) @ _matrix(base, x, weight).mT
    y = y.view(len(x), *_outputs(base, x), len(weight))
    y = (y if bias is None else y + bias).movedim(-1, 1)
    # the layout of torch's kernels, since the network may use `view`
    return y.contiguous() if x.is_contiguous() and weight.is_contiguous() else y


def pull(base: algebra.Conv, dy: Tensor, x: Tensor, weight: Tensor, needs: Sequence[bool]) -> Gradients:
    """Return the gradients of x, weight and bias, each if needed.

    Args:
        base: The layer, in one group.
        dy: (N, O, *S') gradient of the output.
        x: (N, I, *S) its input.
        weight: The weight that was used.
        needs: Which of the three.
    """
    if not covers(base, x):
        sizes = [len(weight)] if needs[2] else None
        how = (base.stride, base.padding, base.dilation, False, [0] * (x.dim() - 2), 1)
        found: Gradients = _backward(dy, x, weight, sizes, *how, list(needs))
        return found
    dy_NQO = _flat(dy)
    dx = dweight = None
    if needs[0]:
        last = (len(x), *x.shape[2:], x.shape[1])
        dx = (dy_NQO @ _matrix(base, x, weight)).view(last).movedim(-1, 1)
    if needs[1]:
        dmatrix = (dy_NQO.mT @ _flat(x)).view(-1, len(weight), *x.shape[2:], x.shape[1])
        dweight = torch.zeros_like(weight)
        last_weight = dweight.movedim(1, -1)
        for part, taps in zip(dmatrix, _taps_of(base, x), strict=True):
            last_weight[(slice(None), *taps)] += part
    return dx, dweight, dy.flatten(2).sum((0, 2)) if needs[2] else None


def _flat(x: Tensor) -> Tensor:
    """Return (N, positions x channels), a view where the channels are last in memory."""
    return x.movedim(1, -1).reshape(len(x), -1)


def _matrix(base: algebra.Conv, x: Tensor, weight: Tensor) -> Tensor:
    """Return (Q x O, S x I)."""
    last = weight.movedim(1, -1)
    blocks = [last[(slice(None), *taps)].reshape(len(weight), -1) for taps in _taps_of(base, x)]
    return blocks[0] if len(blocks) == 1 else torch.cat(blocks)


def _taps_of(base: algebra.Conv, x: Tensor) -> tuple[_Taps, ...]:
    return _taps(tuple(x.shape[2:]), base.kernel_size, base.stride, base.padding, base.dilation)


def _outputs(base: algebra.Conv, x: Tensor) -> tuple[int, ...]:
    padding = cast(tuple[int, ...], base.padding)
    axes = zip(x.shape[2:], base.kernel_size, base.stride, padding, strict=True)
    return tuple((size + 2 * before - kernel) // step + 1 for size, kernel, step, before in axes)


@lru_cache(maxsize=1024)
def _taps(
    sizes: tuple[int, ...],
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    dilation: tuple[int, ...],
) -> tuple[_Taps, ...]:
    """Return the taps that meet the map, for each output in order; none if an output does not meet all of it."""
    if any(step != 1 for step in dilation):
        return ()
    lines = []
    for size, taps, step, before in zip(sizes, kernel, stride, padding, strict=True):
        starts = [before - step * place for place in range((size + 2 * before - taps) // step + 1)]
        if not starts or min(starts) < 0 or max(starts) + size > taps:
            return ()
        lines.append([slice(start, start + size) for start in starts])
    return tuple(itertools.product(*lines))
