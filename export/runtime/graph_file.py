"""What an ONNX file itself says: its metadata, its multiply-accumulates, and the files that hold its weights.

A description beside the file can be changed; these are read from what runs. Nothing is executed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from lorkit.decompose.errors import ArtifactError
from lorkit.export.runtime.wire_format import read_top_level

if TYPE_CHECKING:
    from google.protobuf.message import Message
    from onnx import GraphProto, ModelProto, NodeProto, TensorProto

NAMESPACE = "lorkit."
_KEPT = 64
_SHAPE_VALUES = 64
"""A tensor of more values is a weight, which no shape follows from."""


class GraphFile(NamedTuple):
    """Contents of an ONNX file.

    Attributes:
        metadata: Its `metadata_props` under `lorkit.`, by name without that.
        nodes: Number of nodes.
        outside: Paths of files beside it that hold weights, as it states them.
    """

    metadata: Mapping[str, str]
    nodes: int
    outside: tuple[str, ...]


@lru_cache(maxsize=_KEPT)
def read_graph_file(path: Path, digest: str) -> GraphFile:
    """Read an ONNX file; `digest` is that of its content, under which the result is kept.

    Raises:
        ArtifactError: It is no ONNX file.
    """
    del digest
    top = read_top_level(path)
    if top is not None:
        return GraphFile(_own(top.metadata), top.nodes, ())
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(path, load_external_data=False)
    except DecodeError:
        raise ArtifactError(f"{path} is no ONNX file", required="an intact export", fix="export it again") from None
    named = {entry.key: entry.value for entry in model.metadata_props}
    outside = {entry.value for one in tensors_of(model) for entry in one.external_data if entry.key == "location"}
    return GraphFile(_own(named), len(model.graph.node), tuple(sorted(outside)))


def _own(metadata: Mapping[str, str]) -> dict[str, str]:
    return {key.removeprefix(NAMESPACE): text for key, text in metadata.items() if key.startswith(NAMESPACE)}


@lru_cache(maxsize=_KEPT)
def file_macs(path: Path, digest: str) -> int | None:
    """Return the multiply-accumulates of one image in an ONNX file, see `graph_macs`; None without a file."""
    del digest
    import onnx

    return graph_macs(onnx.load(path, load_external_data=False)) if path.is_file() else None


def tensors_of(message: Message) -> Iterator[TensorProto]:
    """Yield every tensor in a message: of graphs, sparse ones, attributes, functions and what a later ONNX adds."""
    from google.protobuf.message import Message

    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        for one in (value,) if isinstance(value, Message) else value:
            if field.message_type.name == "TensorProto":
                yield one
            else:
                yield from tensors_of(one)


def files_of_weights(model: ModelProto, path: Path) -> set[Path]:
    """Return the files beside an ONNX file that hold weights of it.

    Args:
        model: The graph without the data of these files.
        path: The ONNX file.

    Raises:
        ArtifactError: A file is missing, or is outside of the folder of the ONNX file.
    """
    from onnx import TensorProto

    folder, files = path.resolve().parent, set[Path]()
    for tensor in tensors_of(model):
        if tensor.data_location != TensorProto.EXTERNAL:
            continue
        location = next((entry.value for entry in tensor.external_data if entry.key == "location"), "")
        file = (folder / location).resolve()
        if not file.is_relative_to(folder) or not file.is_file():
            raise ArtifactError(
                f"{path} keeps '{tensor.name}' in '{location}'",
                required="weights in the file itself, or in a file of its folder",
                fix="save the model as one file, or put its weights beside it",
            )
        files.add(file)
    return files


def infer_shapes(model: ModelProto) -> GraphProto:
    """Return a graph with the shape of each value that can be inferred, for one image; the model's own is changed."""
    from onnx import shape_inference

    for value in model.graph.input:
        for dim in value.type.tensor_type.shape.dim:
            if not dim.HasField("dim_value"):
                dim.dim_value = 1
    for value in model.graph.output:  # their shapes follow from the input's
        value.type.tensor_type.ClearField("shape")
    return shape_inference.infer_shapes(model, data_prop=True).graph


def graph_macs(model: ModelProto) -> int | None:
    """Return the multiply-accumulates of one image in convolutions and matrix products, as `count_macs` does.

    None if the shape of an operand is unknown. The weights of the model are dropped on the way.
    """
    from onnx import shape_inference

    for tensor in model.graph.initializer:
        if math.prod(tensor.dims) > _SHAPE_VALUES:
            tensor.ClearField("raw_data")
    try:
        graph = infer_shapes(model)
    except shape_inference.InferenceError:
        return None
    shapes = {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        dims = value.type.tensor_type.shape.dim
        if value.type.tensor_type.HasField("shape") and all(dim.HasField("dim_value") for dim in dims):
            shapes.setdefault(value.name, [dim.dim_value for dim in dims])
    counted = [_node_macs(node, shapes) for node in graph.node if node.op_type in _COUNTED]
    known = [one for one in counted if one is not None]
    return sum(known) if len(known) == len(counted) else None


# where the first operand, the second and the output are, among the inputs of a node
_COUNTED = {
    "Conv": (0, 1), "ConvInteger": (0, 1), "QLinearConv": (0, 3), "ConvTranspose": (0, 1), "Gemm": (0, 1),
    "MatMul": (0, 1), "MatMulInteger": (0, 1), "QLinearMatMul": (0, 3),
}  # fmt: skip


def _node_macs(node: NodeProto, shapes: Mapping[str, list[int]]) -> int | None:
    first, second = (shapes.get(node.input[place]) for place in _COUNTED[node.op_type])
    output = shapes.get(node.output[0])
    if first is None or second is None or output is None:
        return None
    if node.op_type == "ConvTranspose":
        return math.prod(first) * math.prod(second[1:])
    if "Conv" in node.op_type:
        return math.prod(output) * math.prod(second[1:])
    turned = any(one.name == "transA" and one.i for one in node.attribute)
    return math.prod(output) * (first[0] if turned else first[-1])
