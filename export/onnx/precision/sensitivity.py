"""How much each layer of a graph suffers from int8 alone, by one session for all of them.

A session per layer takes longer to open than to run. Here one float32 graph has the rounding of every layer behind a
switch: the input `layer` is the index of the layer whose activations and weights are rounded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from lorkit.export.onnx.cpu_runner import inferrer
from lorkit.export.targets.base import Inputs, Outputs

LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
_SWITCH = "lorkit_layer"


class _Rounding(NamedTuple):
    """How a tensor is rounded: names of scale and zero point, its stored integers if it is a weight, and the axis."""

    scale: str
    zero_point: str
    stored: str | None
    attributes: dict[str, Any]


def layer_inferrer(model: onnx.ModelProto, quantised: onnx.ModelProto) -> Callable[[str], Callable[[Inputs], Outputs]]:
    """Return a function from the name of a layer to the network in which only that layer is rounded to int8.

    No layer is rounded for the name of one that is not quantised. Biases are not rounded: they have 32 bits.

    Args:
        model: The float32 graph.
        quantised: The same with all its layers in int8, from `int8.quantise`.
    """
    roundings = _roundings(model, quantised)
    switched = onnx.ModelProto.FromString(model.SerializeToString())
    graph, indices = switched.graph, dict[str, int]()
    nodes = list(graph.node)
    del graph.node[:]
    for node in nodes:
        # a layer in fp32 has rounded activations too if the one before it is rounded
        if node.op_type in LAYERS and all(name in roundings for name in node.input[:2]):
            indices[node.name] = len(indices)
            graph.node.extend(_switch(node, roundings, indices[node.name], graph))
        graph.node.append(node)
    used = {name for rounding in roundings.values() for name in rounding[:3] if name}
    graph.initializer.extend(one for one in quantised.graph.initializer if one.name in used)
    graph.input.append(helper.make_tensor_value_info(_SWITCH, TensorProto.INT64, []))
    infer = inferrer(switched)

    def of(name: str) -> Callable[[Inputs], Outputs]:
        index = np.array(indices.get(name, -1), np.int64)
        return lambda given: infer({**given, _SWITCH: index})

    return of


def _roundings(model: onnx.ModelProto, quantised: onnx.ModelProto) -> Mapping[str, _Rounding]:
    """Return how each tensor of a graph is rounded in its int8 graph, by its name."""
    makers = {name: node for node in quantised.graph.node for name in node.output}
    layers = {node.name: node for node in quantised.graph.node if node.op_type in LAYERS}
    weights = {one.name for one in model.graph.initializer}
    found = {}
    for node in model.graph.node:
        if node.name not in layers:
            continue
        for name, taken in zip(node.input[:2], layers[node.name].input, strict=False):
            last = makers.get(taken)
            if last is None or last.op_type != "DequantizeLinear":
                continue
            attributes = {one.name: one.i for one in last.attribute if one.name == "axis"}
            stored = last.input[0] if name in weights else None
            found[name] = _Rounding(last.input[1], last.input[2], stored, attributes)
    return found


def _switch(
    node: onnx.NodeProto, roundings: Mapping[str, _Rounding], index: int, graph: onnx.GraphProto
) -> list[onnx.NodeProto]:
    """Let a layer take its rounded inputs where the switch has its index, and return the nodes for that."""
    prefix = f"lorkit_{index}"
    graph.initializer.append(numpy_helper.from_array(np.array(index, np.int64), f"{prefix}_index"))
    added = [helper.make_node("Equal", [_SWITCH, f"{prefix}_index"], [f"{prefix}_on"], f"{prefix}_on")]
    for position, name in enumerate(node.input[:2]):
        key = f"{prefix}_{position}"
        scale, zero_point, stored, attributes = roundings[name]
        if stored is None:
            stored = f"{key}_stored"
            added.append(helper.make_node("QuantizeLinear", [name, scale, zero_point], [stored], stored, **attributes))
        given = [stored, scale, zero_point]
        added.append(helper.make_node("DequantizeLinear", given, [f"{key}_rounded"], f"{key}_rounded", **attributes))
        given = [f"{prefix}_on", f"{key}_rounded", name]
        added.append(helper.make_node("Where", given, [f"{key}_taken"], f"{key}_taken"))
        node.input[position] = f"{key}_taken"
    return added
