"""Costs of an ONNX graph: multiply-accumulates, parameters, peak memory of its activations."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import onnx

from lorkit.decompose.errors import ArtifactError, reads
from lorkit.export.runtime.graph_file import infer_shapes


class GraphCosts(NamedTuple):
    """Costs read from an ONNX file; all None without one.

    Attributes:
        nodes: Number of nodes.
        peak_activation_bytes: For one image, the peak of inputs, outputs and inner values if each is freed after its
            last use and nothing is computed in place; None if a shape cannot be inferred. Runtimes fuse nodes and need
            less, but the number is comparable between files.
        dtypes: Bytes of weights by number format.
    """

    nodes: int | None = None
    peak_activation_bytes: int | None = None
    dtypes: dict[str, int] | None = None


@reads("an intact ONNX graph", kind=ArtifactError)
def graph_costs(path: Path) -> GraphCosts:
    """Read nodes, number formats and planned peak memory from an ONNX file."""
    if not path.is_file():
        return GraphCosts()
    model = onnx.load(path, load_external_data=False)
    dtypes: Counter[str] = Counter()
    for tensor in model.graph.initializer:
        kind = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
        dtypes[kind.name] += math.prod(tensor.dims) * kind.itemsize
    peak = peak_activation_bytes(model)
    return GraphCosts(nodes=len(model.graph.node), peak_activation_bytes=peak, dtypes=dict(sorted(dtypes.items())))


def peak_activation_bytes(model: onnx.ModelProto) -> int | None:
    """Return the planned peak memory of one image; None if the size of a value is unknown."""
    sized = onnx.ModelProto()
    sized.CopyFrom(model)
    graph = infer_shapes(sized)
    weights = {tensor.name for tensor in graph.initializer}
    for node in graph.node:  # in order: what weights alone decide, such as dequantised weights, is computed once
        if node.input and weights.issuperset(node.input):
            weights |= set(node.output)
    sizes = {
        value.name: _bytes(value)
        for value in (*graph.input, *graph.value_info, *graph.output)
        if value.name not in weights
    }
    return _plan(graph, weights, sizes)


def _plan(graph: onnx.GraphProto, weights: set[str], sizes: Mapping[str, int | None]) -> int | None:
    kept = {value.name for value in graph.output}
    last = {name: turn for turn, node in enumerate(graph.node) for name in node.input if name not in weights}
    held = {value.name: sizes[value.name] for value in graph.input if value.name not in weights}
    peak = 0
    for turn, node in enumerate(graph.node):
        held |= {name: sizes.get(name) for name in node.output if name and name not in weights}
        known = [size for size in held.values() if size is not None]
        if len(known) < len(held):
            return None
        peak = max(peak, sum(known))
        held = {name: size for name, size in held.items() if name in kept or last.get(name, -1) > turn}
    return peak


def _bytes(value: onnx.ValueInfoProto) -> int | None:
    tensor = value.type.tensor_type
    if not tensor.HasField("shape") or any(not dim.HasField("dim_value") for dim in tensor.shape.dim):
        return None
    kind = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)
    return math.prod(int(dim.dim_value) for dim in tensor.shape.dim) * int(kind.itemsize)
