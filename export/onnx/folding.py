"""Fold batch norms into the convolutions before them, in a program of `torch.export`.

The translation to ONNX takes longest for batch norms, which the optimiser then removes. A folded program is translated
in about half the time. The new weights are computed in float64.

Shapes: K output channels; a kernel is (K, C / groups, *spatial).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

_CONVOLUTIONS = frozenset((torch.ops.aten.conv1d.default, torch.ops.aten.conv2d.default, torch.ops.aten.conv3d.default))
_NORM = torch.ops.aten.batch_norm.default


def fold_batch_norms(program: torch.export.ExportedProgram) -> int:
    """Fold each batch norm of inference whose input is a convolution that nothing else uses; return how many.

    `program` is changed in place, the network that it was traced from is not. A weight keeps its name, a folded bias
    has that of the convolution's bias or, without one, that of the norm's. Norms that do not fit remain.
    """
    signature = program.graph_signature
    names = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    folded = 0
    norm: Any  # nodes have arguments of any type
    for norm in program.graph.find_nodes(op="call_function", target=_NORM):
        convolution = norm.args[0]
        if not _fits(norm, convolution, names):
            continue
        _, kernel, bias, *rest = (*convolution.args, None) if len(convolution.args) == 2 else convolution.args
        tensors = (kernel, bias, *norm.args[1:5])
        values: list[Any] = [None if one is None else program.state_dict[names[one.name]] for one in tensors]
        place = bias if bias is not None else norm.args[2]
        for one, value in zip((kernel, place), _folded(norm.args[7], *values), strict=True):
            parameter = isinstance(program.state_dict[names[one.name]], nn.Parameter)
            program.state_dict[names[one.name]] = nn.Parameter(value, requires_grad=False) if parameter else value
        convolution.args = (convolution.args[0], kernel, place, *rest)
        norm.replace_all_uses_with(convolution)
        program.graph.erase_node(norm)
        folded += 1
    if folded:
        program.graph_module.recompile()
    return folded


def _fits(norm: Any, convolution: Any, names: Mapping[str, str]) -> bool:
    """Return whether a norm can be folded: every tensor is a weight that is used once, and there is a bias."""
    _, scale, shift, mean, variance, training = norm.args[:6]
    if training or convolution.target not in _CONVOLUTIONS or convolution.kwargs or len(convolution.users) != 1:
        return False
    if any(user.op == "output" for user in norm.users):  # the program's signature names it
        return False
    bias = convolution.args[2] if len(convolution.args) > 2 else None
    tensors = [one for one in (convolution.args[1], bias, scale, shift, mean, variance) if one is not None]
    if (bias is None and shift is None) or mean is None or variance is None:
        return False
    return all(one.name in names and len(one.users) == 1 for one in tensors)


def _folded(
    epsilon: float,
    kernel: Tensor,
    bias_K: Tensor | None,
    scale_K: Tensor | None,
    shift_K: Tensor | None,
    mean_K: Tensor,
    variance_K: Tensor,
) -> tuple[Tensor, Tensor]:
    factor_K = (variance_K.double() + epsilon).rsqrt()
    if scale_K is not None:
        factor_K = factor_K * scale_K.double()
    offset_K = (0.0 if bias_K is None else bias_K.double()) - mean_K.double()
    moved_K = offset_K * factor_K + (0.0 if shift_K is None else shift_K.double())
    factor = factor_K.reshape(-1, *(1 for _ in kernel.shape[1:]))
    return (kernel.double() * factor).to(kernel.dtype), moved_K.to(kernel.dtype)
