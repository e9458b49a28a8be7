"""Factors of all regions contiguous in one buffer, so that stacking them needs no copy.

Most strategies use the factors of T regions as one tensor (T, ...). Copying them together in each forward and apart in
each backward is most of the cost of a narrow layer. Packed parameters remain one per region, but their values are
consecutive slices of one buffer, which is the stack.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from lorkit.decompose.experts.algebra import transformed


class Pack:
    """A buffer (T, ...) and the parameters that are its slices, in order."""

    def __init__(self, parameters: Sequence[nn.Parameter]) -> None:
        self.parameters = tuple(parameters)
        self.buffer = _joined([parameter.data for parameter in self.parameters])
        for parameter, values in zip(self.parameters, self.buffer.unbind(), strict=True):
            parameter.data = values
        self._addresses = [parameter.data_ptr() for parameter in self.parameters]

    def stack(self, factors: Sequence[Tensor]) -> Tensor | None:
        """Return the stack without a copy if the factors are this pack's parameters and still slices, else None.

        Parameters that were moved, replaced or copied are no longer slices of the buffer.
        """
        if torch.compiler.is_compiling() or transformed() or not self.holds(factors):
            return None
        return cast(Tensor, cast(Any, _Joined).apply(self.buffer, *factors))

    def holds(self, factors: Sequence[Tensor]) -> bool:
        """Return whether factors are this pack's parameters, in order, and still slices of the buffer."""
        if len(factors) != len(self.parameters) or any(map(operator.is_not, factors, self.parameters)):
            return False
        return [parameter.data_ptr() for parameter in self.parameters] == self._addresses

    def release_(self) -> None:
        """Give every parameter that is still a slice its own memory again."""
        for parameter, address in zip(self.parameters, self._addresses, strict=True):
            if parameter.data_ptr() == address:
                parameter.data = parameter.data.clone(memory_format=torch.preserve_format)

    def __deepcopy__(self, memo: dict[int, Any]) -> None:
        """Return no pack: the parameters of a copy have their own memory."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Return no pack when the layer is pickled."""
        return type(None), ()


def packable(parameters: Sequence[nn.Parameter]) -> bool:
    """Return whether parameters can share a buffer: several of one shape, type, device and memory order."""
    if len(parameters) < 2 or parameters[0].device.type == "meta":
        return False
    kinds = {(one.shape, one.dtype, one.device, one.stride(), one.requires_grad) for one in parameters}
    return len(kinds) == 1 and len({id(one) for one in parameters}) == len(parameters) and _ordered(parameters[0])


def _ordered(factor: Tensor) -> bool:
    return factor.is_contiguous() or (factor.dim() > 2 and factor.movedim(1, -1).is_contiguous())


def _joined(values: Sequence[Tensor]) -> Tensor:
    """Stack tensors, keeping the memory order of every slice."""
    last = not values[0].is_contiguous()
    ordered = [value.movedim(1, -1) if last else value for value in values]
    # contiguous strides also for axes of size 1, as in gradients
    buffer = torch.stack(ordered, out=ordered[0].new_empty((len(values), *ordered[0].shape)))
    return buffer.movedim(-1, 2) if last else buffer


class _Joined(torch.autograd.Function):
    """The stack of contiguous tensors; their gradients are slices of one tensor in the same order."""

    @staticmethod
    def forward(buffer: Tensor, *factors: Tensor) -> Tensor:
        del factors
        return buffer.view_as(buffer)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        ctx.strides = output.stride()
        ctx.save_for_backward(*inputs[1:])  # to detect in-place changes

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        if len(ctx.saved_tensors) and gradients[0].stride() == ctx.strides:  # accessing them raises if one was changed
            return None, *gradients[0].unbind()
        gradient = gradients[0].new_empty_strided(gradients[0].shape, ctx.strides).copy_(gradients[0])
        return None, *gradient.unbind()
