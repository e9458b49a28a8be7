"""How much each layer of a graph suffers from int8 alone, by one session for all of them.

A session per layer takes longer to open than to run. Here one float32 graph has every layer twice, behind a switch: the
input `layer` is the index of the layer whose activations and weights are rounded. Only the layer that the switch takes
is computed, and the weights of the others stay constants, which ONNX Runtime needs for its fastest convolutions.
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
    weights = {one.name: one for one in model.graph.initializer}
    nodes = list(graph.node)
    del graph.node[:]
    for node in nodes:
        # a layer in fp32 has rounded activations too if the one before it is rounded
        if node.op_type not in LAYERS or any(name not in roundings for name in node.input[:2]):
            graph.node.append(node)
            continue
        indices[node.name] = len(indices)
        graph.node.extend(_switch(node, roundings, indices[node.name], weights, graph))
    stored = {name for rounding in roundings.values() for name in rounding[:3] if name}
    graph.initializer.extend(one for one in quantised.graph.initializer if one.name in stored)
    # those of the layers lie in their branches
    used = {name for node in graph.node for name in node.input} | {value.name for value in graph.output} | stored
    for tensor in [one for one in graph.initializer if one.name not in used]:
        graph.initializer.remove(tensor)
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
    node: onnx.NodeProto,
    roundings: Mapping[str, _Rounding],
    index: int,
    weights: Mapping[str, onnx.TensorProto],
    graph: onnx.GraphProto,
) -> list[onnx.NodeProto]:
    """Return the nodes that compute a layer from its rounded inputs where the switch has its index, else as it is."""
    prefix = f"lorkit_{index}"
    graph.initializer.append(numpy_helper.from_array(np.array(index, np.int64), f"{prefix}_index"))
    equal = helper.make_node("Equal", [_SWITCH, f"{prefix}_index"], [f"{prefix}_on"], f"{prefix}_on")
    branches = {
        "then_branch": _branch(node, f"{prefix}_rounded", weights, roundings),
        "else_branch": _branch(node, f"{prefix}_plain", weights, {}),
    }
    return [equal, helper.make_node("If", [f"{prefix}_on"], list(node.output), f"{prefix}_if", **branches)]


def _branch(
    node: onnx.NodeProto, prefix: str, weights: Mapping[str, onnx.TensorProto], roundings: Mapping[str, _Rounding]
) -> onnx.GraphProto:
    """Return the graph of one layer with its own weights; its first two inputs are rounded if `roundings` has them."""
    layer, own, added = onnx.NodeProto(), list[onnx.TensorProto](), list[onnx.NodeProto]()
    layer.CopyFrom(node)
    layer.name, layer.output[0] = prefix, f"{prefix}_output"
    for position, name in enumerate(node.input):
        key = f"{prefix}_{position}"
        if position < 2 and name in roundings:
            added += _round(name, key, roundings[name])
        elif name in weights:
            own.append(onnx.TensorProto())
            own[-1].CopyFrom(weights[name])
            own[-1].name = key
        else:
            continue
        layer.input[position] = key
    output = helper.make_tensor_value_info(layer.output[0], TensorProto.FLOAT, None)
    return helper.make_graph([*added, layer], prefix, [], [output], own)


def _round(name: str, rounded: str, rounding: _Rounding) -> list[onnx.NodeProto]:
    """Return the nodes that round a tensor, or dequantise the stored integers of a weight."""
    scale, zero_point, stored, attributes = rounding
    added = []
    if stored is None:
        stored = f"{rounded}_stored"
        added.append(helper.make_node("QuantizeLinear", [name, scale, zero_point], [stored], stored, **attributes))
    given = [stored, scale, zero_point]
    return [*added, helper.make_node("DequantizeLinear", given, [rounded], rounded, **attributes)]
