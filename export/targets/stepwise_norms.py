"""Instance and group norms of large maps for OpenVINO, whose own add all values of a map in one fp32 sum.

Over the 884,736 voxels of a window of 96 that sum loses two digits more than one axis after the other: the largest
error of a norm against float64 was 2.6e-5 instead of 1.2e-6, and an untrained U-Net failed its parity proof.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import ModuleType
from typing import Any

# below, one sum is exact to about 1e-6 too, and one fused layer is faster
SMALLEST = 32**3


def split_norms(model: Any, openvino: ModuleType) -> int:
    """Replace each norm over at least `SMALLEST` values by means over one axis after the other.

    Args:
        model: A network of OpenVINO, changed in place.
        openvino: The package.

    Returns:
        How many norms were replaced; those over unknown sizes stay as they are.
    """
    norms = [node for node in model.get_ordered_ops() if node.get_type_name() == "MVN"]
    return sum(_split(node, openvino.opset13) for node in norms)


def _split(node: Any, ops: ModuleType) -> bool:
    shape, constant = node.input(0).get_partial_shape(), node.input_value(1).get_node()
    facts = node.get_attributes()
    if shape.rank.is_dynamic or constant.get_type_name() != "Constant" or not facts["normalize_variance"]:
        return False
    rank = len(shape)
    axes = sorted(int(axis) % rank for axis in constant.data.reshape(-1))
    if any(shape[axis].is_dynamic for axis in axes):
        return False
    sizes = [shape[axis].get_length() for axis in axes]
    if math.prod(sizes) < SMALLEST:
        return False
    x = node.input_value(0)
    if len(axes) > 1:
        new = _normalised(x, axes, facts, ops)
    elif axes == [rank - 1] and (rows := _near_root(sizes[0])) > 1:
        # a group norm: its map is one long axis, which is cut into rows
        kept = [0] * (rank - 1)  # zero keeps a side in a reshape
        cut = ops.reshape(x, _numbers([*kept, rows, sizes[0] // rows], ops), True).output(0)
        new = ops.reshape(_normalised(cut, [rank - 1, rank], facts, ops), _numbers([*kept, sizes[0]], ops), True)
    else:
        return False
    new.set_friendly_name(node.get_friendly_name())
    for target in node.output(0).get_target_inputs():
        target.replace_source_output(new.output(0))
    return True


def _normalised(x: Any, axes: Sequence[int], facts: dict[str, Any], ops: ModuleType) -> Any:
    """Return (x - mean) / deviation, with means over the last axis first."""
    centred = ops.subtract(x, _mean(x, axes, ops)).output(0)
    variance = _mean(ops.multiply(centred, centred).output(0), axes, ops)
    epsilon = ops.constant(facts["eps"], dtype="float32")
    if str(facts["eps_mode"]).lower() == "inside_sqrt":
        return ops.divide(centred, ops.sqrt(ops.add(variance, epsilon)))
    return ops.divide(centred, ops.add(ops.sqrt(variance), epsilon))


def _mean(x: Any, axes: Sequence[int], ops: ModuleType) -> Any:
    for axis in reversed(axes):
        # not reduce_mean: OpenVINO joins those of several axes to the same single sum
        share = ops.constant(1 / x.get_partial_shape()[axis].get_length(), dtype="float32")
        x = ops.multiply(ops.reduce_sum(x, _numbers([axis], ops), True), share).output(0)
    return x


def _numbers(values: Sequence[int], ops: ModuleType) -> Any:
    return ops.constant(list(values), dtype="int64")


def _near_root(length: int) -> int:
    """Return the largest divisor of a length up to its square root."""
    return next(one for one in range(math.isqrt(length), 0, -1) if length % one == 0)
