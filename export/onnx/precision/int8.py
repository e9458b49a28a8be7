"""Static int8: quantise-dequantise pairs around every layer, scales from calibration images.

Weights are int8 by output channel. `asymmetric`: uint8 activations, for CPUs with VNNI. `reduced`: the same with
weights of seven bits: x86 CPUs without VNNI add two products in 16 bits (VPMADDUBSW), which saturate with eight.
`symmetric`: int8 activations with zero point 0 and float biases, as TensorRT's parser requires.

The outputs of the network are not quantised: the range of their scale would be that of the calibration images, and
larger logits of other images would all become its largest value, by which two classes can tie.

If the same graph, images and scheme give another int8 graph, `INT8_REVISION` in `building.identity` is incremented.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from lorkit.export.targets.base import Inputs, batches
from lorkit.export.targets.quiet import quiet

_BATCH = 8
# Layers that only move values: their output has the range of their input.
_MOVES = ("Concat", "Flatten", "Gather", "Identity", "Reshape", "Resize", "Slice", "Split", "Squeeze", "Transpose")
# Operators that are rounded only where their input is.
_FOLLOW = (*_MOVES, "Clip", "MaxPool", "Relu")


class _CalibrationBatches:
    """Calibration images in small batches, for ONNX Runtime's calibrators."""

    def __init__(self, inputs: Inputs) -> None:
        self._batches = (part for _, part in batches(inputs, _BATCH))

    def get_next(self) -> Inputs | None:
        return next(self._batches, None)


def quantise(
    model: onnx.ModelProto,
    inputs: Inputs,
    scheme: str,
    *,
    only: Sequence[str] | None = None,
    excluding: Sequence[str] = (),
) -> onnx.ModelProto:
    """Return an int8 graph with float32 images, and outputs that are not rounded to eight bits.

    Args:
        model: A float32 graph; it is not changed.
        inputs: Calibration images, with their regions if the graph takes them, for the ranges of activations.
        scheme: "asymmetric", "reduced" or "symmetric".
        only: Names of the nodes to quantise; all by default.
        excluding: Names of nodes that stay in fp32.
    """
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    symmetric = scheme == "symmetric"
    extra: dict[str, Any] = {"ActivationSymmetric": symmetric, "WeightSymmetric": True, "QuantizeBias": not symmetric}
    # held back: the quantiser's advice to run its pre-processing; the graph comes folded and with its shapes
    with tempfile.TemporaryDirectory() as folder, quiet(), np.errstate(all="ignore"):
        path = Path(folder) / "int8.onnx"
        quantize_static(
            onnx.shape_inference.infer_shapes(model),
            path,
            _CalibrationBatches(inputs),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            reduce_range=scheme == "reduced",
            activation_type=QuantType.QInt8 if symmetric else QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_quantize=None if only is None else list(only),
            nodes_to_exclude=list(excluding),
            extra_options=extra,
        )
        quantised = onnx.load(path)
    _free_outputs(quantised.graph)
    used = {node.domain or "" for node in quantised.graph.node}
    domains = [entry for entry in quantised.opset_import if entry.domain in used]
    del quantised.opset_import[:]
    quantised.opset_import.extend(domains)
    del quantised.graph.value_info[:]
    del quantised.metadata_props[:]
    return quantised


def _free_outputs(graph: onnx.GraphProto) -> None:
    """Remove the quantise-dequantise pairs between the outputs of a graph and the layers that compute them."""
    makers = {name: node for node in graph.node for name in node.output}
    ends, open_ = {value.name for value in graph.output}, [value.name for value in graph.output]
    while open_:
        name = open_.pop()
        node = makers.get(name)
        if node is None:
            continue
        if node.op_type in _MOVES:
            open_ += [given for given in node.input if given in makers]
            continue
        pair = makers.get(node.input[0]) if node.op_type == "DequantizeLinear" else None
        if pair is None or pair.op_type != "QuantizeLinear":
            continue
        before = pair.input[0]
        if name in ends and (before in ends or before not in makers):  # a tensor that is two of them keeps its values
            continue
        # an output keeps its name, another tensor that of the layer
        _rename(graph, *((before, name) if name in ends else (name, before)), without=(pair, node))
        graph.node.remove(node)
        if not any(pair.output[0] in other.input for other in graph.node):
            graph.node.remove(pair)
        makers = {made: other for other in graph.node for made in other.output}
        open_.append(name if name in ends else before)
    _remove_unused(graph)


def restore_layers(quantised: onnx.ModelProto, model: onnx.ModelProto, names: Sequence[str]) -> onnx.ModelProto:
    """Return an int8 graph in which some layers are in fp32 again, as `quantise(excluding=names)` but at no cost.

    A tensor between layers is rounded only if a layer that stays in int8 makes or takes it.

    Args:
        quantised: All layers in int8, from `quantise`; it is not changed.
        model: Its float32 graph.
        names: Names of the nodes to restore.
    """
    found, kept = onnx.ModelProto(), frozenset(names)
    found.CopyFrom(quantised)
    graph, originals = found.graph, {node.name: node for node in model.graph.node}
    weights = {one.name: one for one in model.graph.initializer}
    wanted = set[str]()
    for node in [one for one in graph.node if one.name in kept]:
        for index, name in enumerate(originals[node.name].input):
            if name in weights:
                node.input[index] = name
                wanted.add(name)
    # a dequantised bias has the name of its bias
    for node in [one for one in graph.node if not wanted.isdisjoint(one.output)]:
        graph.node.remove(node)
    graph.initializer.extend(weights[name] for name in sorted(wanted - {one.name for one in graph.initializer}))
    _bypass_pairs(graph, model, kept)
    _remove_unused(graph)
    return found


def _bypass_pairs(graph: onnx.GraphProto, model: onnx.ModelProto, kept: frozenset[str]) -> None:
    """Let layers take the tensors that no layer in int8 makes or takes as they are."""
    makers = {name: node for node in graph.node for name in node.output}
    rounded = {name for name, node in makers.items() if node.op_type == "DequantizeLinear"}

    def in_int8(node: onnx.NodeProto | None) -> bool:
        return node is not None and node.name not in kept and not rounded.isdisjoint(node.input)

    for node in [one for one in graph.node if one.op_type == "DequantizeLinear"]:
        before = makers.get(node.input[0])
        takers = [one for one in graph.node if node.output[0] in one.input]
        if before is None or in_int8(makers.get(before.input[0])):
            continue
        if any(one.op_type not in _FOLLOW and in_int8(one) for one in takers):
            continue
        _rename(graph, node.output[0], before.input[0], without=(node,))
        _restore_activation(graph, model, makers.get(before.input[0]), before.input[0])


def _restore_activation(
    graph: onnx.GraphProto, model: onnx.ModelProto, layer: onnx.NodeProto | None, name: str
) -> None:
    """Add the ReLU between a layer and a tensor again, which the limits of the rounding had replaced."""
    maker = next((node for node in model.graph.node if name in node.output), None)
    if layer is None or maker is None or maker.name == layer.name:
        return
    layer.output[0] = maker.input[0]
    position = next(index for index, node in enumerate(graph.node) if node.name == layer.name)
    graph.node.insert(position + 1, maker)


def _remove_unused(graph: onnx.GraphProto) -> None:
    """Remove nodes and initial values that no output needs."""
    needed, kept = {value.name for value in graph.output}, list[onnx.NodeProto]()
    for node in reversed(graph.node):  # sorted: takers come after makers
        if not needed.isdisjoint(node.output):
            kept.append(node)
            needed.update(node.input)
    for node in [one for one in graph.node if not any(one is other for other in kept)]:
        graph.node.remove(node)
    for tensor in [one for one in graph.initializer if one.name not in needed]:
        graph.initializer.remove(tensor)


def _rename(graph: onnx.GraphProto, old: str, new: str, *, without: Sequence[onnx.NodeProto]) -> None:
    for node in graph.node:
        if any(node is other for other in without):
            continue
        for names in (node.input, node.output):
            for index, name in enumerate(names):
                if name == old:
                    names[index] = new
