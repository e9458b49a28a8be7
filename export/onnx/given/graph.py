"""Bring the graph of another tool into the form of this project's ONNX files.

The result takes `image` float32 (N, C, *spatial) in [0, 1] with a free batch and returns `logits`, with the
normalisation inside. Rewritten are the number format (float16 becomes float32), the set of operators, a batch that is
fixed, the order of axes, and a last softmax or sigmoid, which is left out. What follows from a rewriting is checked by
running both graphs (`lorkit.export.onnx.given.network`), since shapes alone do not show it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from google.protobuf.message import Message
from onnx import TensorProto, helper, numpy_helper, version_converter
from onnx_ir.passes.common import LiftConstantsToInitializersPass
from onnxscript import optimizer

from lorkit.decompose.documents.heads import IMAGE, LOGITS
from lorkit.decompose.errors import UsageError, first_line
from lorkit.export.onnx.given.form import GivenForm
from lorkit.export.onnx.given.reading import GivenFile
from lorkit.export.targets.graphs import EXPORTER, OPSET
from lorkit.export.targets.quiet import quiet

_LEAST_OPSET = 13  # int8 has a scale for each channel since then
OURS = "lorkit/"
"""Begin of the names of what is put around a graph."""
_ENDS = ("Softmax", "Sigmoid")
_BETWEEN = ("Cast", "Identity", "Reshape", "Squeeze", "Transpose", "Flatten", "Unsqueeze")


def in_float32(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a graph that computes in float32 what the given one computes in float16."""
    made = _copy(model)
    for message in _messages(made):
        name = message.DESCRIPTOR.name
        if name == "TensorProto" and message.data_type == TensorProto.FLOAT16:
            message.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(message).astype(np.float32), message.name))
        elif name == "Tensor" and message.elem_type == TensorProto.FLOAT16:
            message.elem_type = TensorProto.FLOAT
        elif name == "AttributeProto" and message.name in ("to", "dtype") and message.i == TensorProto.FLOAT16:
            message.i = TensorProto.FLOAT
    return made


def without_probabilities(model: onnx.ModelProto, *, stated: bool) -> onnx.ModelProto:
    """Return a graph that returns logits: without its last softmax or sigmoid.

    Args:
        model: A graph with one output.
        stated: Whether the recipe says that it returns probabilities.

    Raises:
        UsageError: Recipe and graph do not say the same.
    """
    makers = {name: node for node in model.graph.node for name in node.output}
    node = makers.get(model.graph.output[0].name)
    while node is not None and node.op_type in _BETWEEN:
        node = makers.get(node.input[0])
    ends = node is not None and node.op_type in _ENDS
    if ends != stated:
        last = f"ends in {node.op_type}" if ends and node else "does not end in Softmax or Sigmoid"
        raise UsageError(
            f"the network {last}, and output of the recipe is {'probabilities' if stated else 'logits'}",
            required="probabilities" if ends else "logits",
            fix="state output: probabilities"
            if ends
            else "state output: logits, or export the network with its softmax",
        )
    if node is None or not ends:
        return model
    made = _copy(model)
    left_out, kept = node.output[0], node.input[0]
    (index,) = (place for place, one in enumerate(made.graph.node) if left_out in one.output)
    # an Identity keeps the name, which may be that of the graph's output
    made.graph.node[index].CopyFrom(helper.make_node("Identity", [kept], [left_out], name=node.name))
    return made


def canonical_graph(file: GivenFile, form: GivenForm, *, single: bool) -> ir.Model:
    """Return a graph in the form of this project's files, without metadata.

    Args:
        file: The file.
        form: What it takes and returns.
        single: Whether it returns one logit, of the second of two classes.

    Raises:
        UsageError: Recipe and graph do not say the same, or its operators are too old.
    """
    model = without_probabilities(in_float32(file.model), stated=form.probabilities)
    del model.graph.value_info[:]
    for name in (IMAGE, LOGITS):
        _rename(model, name, f"{OURS}given_{name}")
    given, output = model.graph.input, model.graph.output[0].name
    first = next(value.name for value in given if value.name not in {one.name for one in model.graph.initializer})
    fixed = file.input_shape[0]
    if fixed is not None:
        _free_batch(model, fixed)
    model = _with_operators(model)
    _wrap(model, form, first, output, single=single)
    _name_nodes(model)
    made = ir.from_proto(model)
    LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(made)
    with quiet(EXPORTER):
        optimizer.optimize(made)
    return made


def _copy(model: onnx.ModelProto) -> onnx.ModelProto:
    made = onnx.ModelProto()
    made.CopyFrom(model)
    return made


def _messages(message: Message) -> Iterator[Any]:
    """Yield a message and all messages in it."""
    yield message
    for field, value in message.ListFields():
        if field.message_type is not None:
            for one in (value,) if isinstance(value, Message) else value:
                yield from _messages(one)


def _rename(model: onnx.ModelProto, old: str, new: str) -> None:
    """Rename a tensor wherever it stands, also in the graphs of branches and loops."""
    for message in _messages(model):
        kind = message.DESCRIPTOR.name
        if kind == "NodeProto":
            for names in (message.input, message.output):
                names[:] = [new if name == old else name for name in names]
        elif kind in ("ValueInfoProto", "TensorProto") and message.name == old:
            message.name = new


def _free_batch(model: onnx.ModelProto, fixed: int) -> None:
    """Let constant shapes that begin with the size of the batch take any."""
    constants: dict[str, Any] = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant":
            value = next((one.t for one in node.attribute if one.name == "value"), None)
            constants |= {} if value is None else {node.output[0]: value}
    for node in model.graph.node:
        tensor = constants.get(node.input[1]) if node.op_type == "Reshape" and len(node.input) > 1 else None
        if tensor is None:
            continue
        sides = numpy_helper.to_array(tensor).copy()
        if sides.ndim == 1 and len(sides) > 1 and sides[0] == fixed:
            sides[0] = 0 if -1 in sides[1:] else -1  # 0: as the input has it
            tensor.CopyFrom(numpy_helper.from_array(sides, tensor.name))


def _with_operators(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a graph with the operators of this project's files where they can be converted, else its own."""
    own = max(one.version for one in model.opset_import if one.domain in ("", "ai.onnx"))
    if own >= OPSET:
        return model
    try:
        made = version_converter.convert_version(model, OPSET)
        del made.graph.value_info[:]
        return made
    except Exception as error:  # the converter has no class of its own
        if own >= _LEAST_OPSET:
            return model
        raise UsageError(
            f"operators of opset {own} cannot be converted to {OPSET} ({first_line(error)[:160]})",
            required=f"opset {_LEAST_OPSET} or later",
            fix="export the network again with a later opset",
        ) from None


def _wrap(model: onnx.ModelProto, form: GivenForm, first: str, output: str, *, single: bool) -> None:
    """Put the normalisation and the order of axes around a graph, and give it this project's input and output."""
    before, after, constants = list[onnx.NodeProto](), list[onnx.NodeProto](), list[onnx.TensorProto]()
    value = IMAGE
    mean, std = form.scale()
    for word, kind, array in (("mean", "Sub", mean), ("std", "Div", std)):
        constants.append(numpy_helper.from_array(array, OURS + word))
        value = _append(before, kind, [value, OURS + word])
    if form.to_network is not None:
        value = _append(before, "Transpose", [value], perm=form.to_network)
    before[-1].output[0] = first
    value = output
    if form.from_network is not None:
        value = _append(after, "Transpose", [value], perm=form.from_network)
    if single:  # softmax of (0, z) is sigmoid of z
        constants.append(numpy_helper.from_array(np.zeros((), dtype=np.float32), f"{OURS}zero"))
        zero = _append(after, "Mul", [value, f"{OURS}zero"])
        value = _append(after, "Concat", [zero, value], axis=1)
    after.append(helper.make_node("Identity", [value], [LOGITS]))
    nodes = [*before, *model.graph.node, *after]
    del model.graph.node[:], model.graph.input[:], model.graph.output[:]
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(constants)
    sides: Sequence[int | str] = (form.outputs, *(form.spatial if form.dense else ()))
    for values, name, shape in ((model.graph.input, IMAGE, form.recipe.shape), (model.graph.output, LOGITS, sides)):
        values.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", *shape]))


def _append(nodes: list[onnx.NodeProto], kind: str, inputs: Sequence[str], **attributes: Any) -> str:
    """Append a node and return the name of its output."""
    name = f"{OURS}{kind.lower()}_{'_'.join(inputs)}"
    nodes.append(helper.make_node(kind, inputs, [name], **attributes))
    return name


def _name_nodes(model: onnx.ModelProto) -> None:
    """Give every node a name of its own, by which layers are quantised or kept."""
    seen = set[str]()
    for index, node in enumerate(model.graph.node):
        if not node.name or node.name in seen:
            node.name = f"{node.op_type}_{index}"
        seen.add(node.name)
