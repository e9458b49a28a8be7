"""Graphs in fp16 or bf16: input and output stay float32, layers that overflow stay in fp32.

TensorRT from version 11 takes the number format only from the file.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper
from onnx_ir.passes.common import RemoveUnusedNodesPass

from lorkit.export.onnx.cpu_runner import largest_values
from lorkit.export.targets.base import Inputs

DTYPES = {"fp16": "float16", "bf16": "bfloat16"}
_BF16_OPSET = 22  # the first in which a convolution may be bf16
_FP16_MAX = 65504.0
# activations of other images may be larger than those measured
_HEADROOM = 4.0


def to_half_precision(model: onnx.ModelProto, precision: str, *, excluding: Sequence[str] = ()) -> onnx.ModelProto:
    """Return a graph that computes in `precision`, with float32 images and outputs.

    Args:
        model: A float32 graph; it is not changed.
        precision: `fp16` or `bf16`.
        excluding: Names of nodes that stay in fp32.
    """
    from onnxruntime.transformers.float16 import convert_float_to_float16

    source = onnx.version_converter.convert_version(model, _BF16_OPSET) if precision == "bf16" else model
    copied = onnx.ModelProto.FromString(onnx.shape_inference.infer_shapes(source).SerializeToString())
    half = convert_float_to_float16(copied, keep_io_types=True, node_block_list=list(excluding))
    half = _without_detours(half)
    del half.graph.value_info[:]  # of the old graph; runtimes infer shapes themselves
    if precision == "bf16":
        _rewrite_as_bf16(half, model)
    return half


def overflowing(model: onnx.ModelProto, inputs: Inputs) -> list[str]:
    """Return the nodes of a float32 graph with inputs or outputs too large for fp16 on these images."""
    values = largest_values(model, inputs)
    large = {name for name, value in values.items() if not value < _FP16_MAX / _HEADROOM}
    large |= {tensor.name for tensor in model.graph.initializer if _peak(tensor) >= _FP16_MAX}
    return [node.name for node in model.graph.node if large.intersection((*node.input, *node.output))]


def _without_detours(half: onnx.ModelProto) -> onnx.ModelProto:
    """Return a sorted graph without casts to fp16 between neighbouring fp32 layers.

    The converter casts the outputs of every excluded node to fp16 and its inputs back to fp32, which would overflow.
    """
    model = ir.from_proto(half)
    for node in model.graph:
        given = node.inputs[0] if node.op_type == "Cast" else None
        before = None if given is None else given.producer()
        if before is None or not _casts_to(node, TensorProto.FLOAT) or not _casts_to(before, TensorProto.FLOAT16):
            continue
        (direct,) = before.inputs
        assert direct is not None
        (cast,), ends = node.outputs, node.outputs[0].is_graph_output()
        ir.convenience.replace_all_uses_with(cast, direct, replace_graph_outputs=True)
        if ends:  # the graph's output must keep its name
            direct.name, cast.name = cast.name, direct.name
    model.graph.sort()  # the converter appends its casts at the end
    RemoveUnusedNodesPass()(model)
    return ir.to_proto(model)


def _casts_to(node: ir.Node, kind: int) -> bool:
    return node.op_type == "Cast" and node.attributes["to"].as_int() == kind


def _peak(tensor: TensorProto) -> float:
    if tensor.data_type != TensorProto.FLOAT:
        return 0.0
    return float(np.abs(numpy_helper.to_array(tensor)).max(initial=0.0))


def _rewrite_as_bf16(half: onnx.ModelProto, original: onnx.ModelProto) -> None:
    """Replace fp16 by bf16 in a graph, in place; weights come from the float32 file, whose range bf16 has."""
    weights = {tensor.name: tensor for tensor in original.graph.initializer}
    for tensor in half.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT16:
            _store(tensor, numpy_helper.to_array(weights.get(tensor.name, tensor)))
    for node in half.graph.node:
        for attribute in node.attribute:
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i == TensorProto.FLOAT16:
                attribute.i = TensorProto.BFLOAT16
            for inner in _tensors(attribute):
                _store(inner, numpy_helper.to_array(inner))
    for value in (*half.graph.input, *half.graph.output):
        assert value.type.tensor_type.elem_type != TensorProto.FLOAT16  # keep_io_types


def _tensors(attribute: onnx.AttributeProto) -> Iterator[TensorProto]:
    for tensor in (attribute.t, *attribute.tensors):
        if tensor.data_type == TensorProto.FLOAT16:
            yield tensor


def _store(tensor: TensorProto, values: NDArray[Any]) -> None:
    import ml_dtypes

    stored = numpy_helper.from_array(values.astype(ml_dtypes.bfloat16), tensor.name)
    tensor.CopyFrom(stored)
