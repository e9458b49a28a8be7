"""Convert a network to a complete, small and reproducible ONNX file without machine paths.

The graph maps `image` float32 (N, C, *spatial) in [0, 1] with a free batch size to `logits` (N, classes), and includes
the normalisation. Its first input may have another name, as that of nodes has. A network may state other `input_names`
(beside the first any number of int64 (N,)) and `output_names`. Its `metadata_props` under
`lorkit.*` describe it, so the file alone can be served.

Tracing takes seconds, and the experts of a run share one architecture, so a `Tracer` converts each architecture once
and replaces the weights for the others. Two networks have the same architecture only if torch.export gives the same
code, with all constants; the parity check of the export covers the result. Each converted graph runs once at batch
sizes other than the traced one: shapes alone do not show a number of images that became a constant.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import torch
from numpy.typing import NDArray
from onnxscript import optimizer
from torch import nn

from lorkit.decompose.artifacts import write_bytes
from lorkit.decompose.documents.export import Graph, WeightCount
from lorkit.decompose.documents.heads import IMAGE, LOGITS
from lorkit.decompose.errors import ParityError, first_line
from lorkit.export.onnx.cpu_runner import inferrer
from lorkit.export.onnx.folding import fold_batch_norms
from lorkit.export.targets.graphs import EXPORTER, MAX_BATCH, OPSET, TRACED_BATCH, strip
from lorkit.export.targets.onnx import runtime_errors
from lorkit.export.targets.quiet import quiet

NAMESPACE = "lorkit."
# protobuf messages have at most 2 GiB; external data would need a second file in every target
MAX_BYTES = 2**31 - 2**24  # of weights: the nodes take a few more
_TRIED_BATCHES = (1, 3)  # of volumes, whose maps are large, only the first
# of the largest value: frozen sizes give errors of their order, rounding none
_SAME = 1e-3


@dataclass
class Tracer:
    """Converts networks to ONNX graphs, each architecture once.

    Attributes:
        translations: Number of architectures converted so far.
    """

    translations: int = 0
    _graphs: dict[tuple[Any, ...], ir.Model] = field(default_factory=dict, repr=False)

    def graph(
        self, network: nn.Module, *, channels: int, size: Sequence[int], first: str = IMAGE, try_batches: bool = True
    ) -> ir.Model:
        """Return an optimised graph of `network` with its weights; see `to_onnx`.

        Raises:
            ParityError: The network cannot be traced with a free batch size, or its graph has a fixed one.
        """
        program = _trace(network, channels=channels, size=size)
        with torch.no_grad():
            fold_batch_norms(program)
        names = input_names(network, first), output_names(network)
        key = (*names, *_architecture(program))
        known = self._graphs.get(key)
        translated = known or _translate(program, *names)
        graph = translated.clone()
        for name, value in graph.graph.initializers.items():
            if name in program.state_dict:
                value.const_value = ir.tensor(program.state_dict[name].detach().contiguous().numpy(), name=name)
        with quiet(EXPORTER):
            optimizer.optimize(graph)
        if known is None:
            _check_batch(network, graph, names[0], channels=channels, size=size, run=try_batches)
            self._graphs[key] = translated
            self.translations += 1
        return graph


def to_onnx(
    network: nn.Module,
    path: Path,
    *,
    channels: int,
    size: Sequence[int],
    metadata: Mapping[str, str],
    first: str = IMAGE,
    tracer: Tracer | None = None,
    graph: ir.Model | None = None,
    try_batches: bool = True,
    lowering: Callable[[onnx.ModelProto], onnx.ModelProto] = lambda model: model,
) -> Graph:
    """Write `network` as ONNX; equal weights and metadata give equal bytes.

    Args:
        network: Takes (N, C, *size) float32 in [0, 1], and returns logits (N, classes), or as its names state; on the
            CPU, in eval mode.
        path: The file to write.
        channels: C.
        size: Spatial size, fixed in the graph.
        metadata: Text by name, written under `lorkit.`.
        first: Name of the input with the images.
        tracer: Shares converted architectures between calls.
        graph: Its float32 graph, of a network that need not be traced; it is not changed.
        try_batches: Run a graph of a new architecture at other batch sizes than the traced one. Without that the caller
            does, with the file.
        lowering: Maps the float32 graph to one of lower precision.

    Returns:
        The description of the file.

    Raises:
        ParityError: The batch size is fixed, or the file would be larger than protobuf allows.
    """
    traced = graph or (tracer or Tracer()).graph(
        network, channels=channels, size=size, first=first, try_batches=try_batches
    )
    model = lowering(ir.to_proto(traced))
    strip(model)
    onnx.helper.set_model_props(model, {NAMESPACE + name: text for name, text in sorted(metadata.items())})
    weights = _weight_bytes(model)
    if weights > MAX_BYTES:
        raise ParityError(
            f"the weights have {weights} bytes", required="less than 2 GiB", fix="export a smaller network"
        )
    data = model.SerializeToString(deterministic=True)  # once: the checker and the file take the same bytes
    onnx.checker.check_model(data, full_check=True)
    write_bytes(path, data)
    return Graph(
        opset=max(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")),
        nodes=len(model.graph.node),
        size_bytes=len(data),
        dtype_census=weight_census(model.graph),
    )


def input_names(network: nn.Module, first: str = IMAGE) -> tuple[str, ...]:
    """Return the names of a network's inputs in the order of `forward`; that of the images is `first`."""
    return (first, *getattr(network, "input_names", (IMAGE,))[1:])


def output_names(network: nn.Module) -> tuple[str, ...]:
    """Return the names of a network's outputs in the order in which it returns them."""
    return tuple(getattr(network, "output_names", (LOGITS,)))


def _example(network: nn.Module, count: int, channels: int, size: Sequence[int]) -> tuple[torch.Tensor, ...]:
    """Return `count` rows of each input: random images, and zeros."""
    generator = torch.Generator().manual_seed(count)
    images = torch.rand(count, channels, *size, generator=generator)
    return images, *(torch.zeros(count, dtype=torch.int64) for _ in input_names(network)[1:])


def _trace(network: nn.Module, *, channels: int, size: Sequence[int]) -> torch.export.ExportedProgram:
    example = _example(network, TRACED_BATCH, channels, size)
    batch = torch.export.Dim("batch", min=1, max=MAX_BATCH)
    shapes = tuple({0: batch} for _ in example)
    try:
        with quiet(EXPORTER), torch.no_grad():
            return torch.export.export(network.eval(), example, dynamic_shapes=shapes, strict=False)
    except RuntimeError as error:  # torch's user errors are RuntimeErrors
        raise ParityError(
            f"torch.export cannot trace {type(network).__name__} with a free batch size ({first_line(error)})",
            required="a network without branches on values, whose batch size is free",
            fix="change the backbone",
        ) from None


def _architecture(program: torch.export.ExportedProgram) -> tuple[Any, ...]:
    """Return what two networks must have in common to share a graph: code, and the shape of every tensor."""
    signature = [(spec.kind.name, spec.arg.name, spec.target) for spec in program.graph_signature.input_specs]
    tensors = [(name, tuple(value.shape), value.dtype) for name, value in program.state_dict.items()]
    # lifted constants are not weights: networks with any do not share graphs
    constants = tuple(id(value) for value in program.constants.values() if isinstance(value, torch.Tensor))
    given = [node for node in program.graph.nodes if node.name in program.graph_signature.user_inputs]
    shapes = tuple(str(side) for node in given for side in node.meta["val"].shape[1:])
    return (program.graph_module.code, tuple(signature), tuple(tensors), constants, shapes)


def _translate(program: torch.export.ExportedProgram, inputs: tuple[str, ...], outputs: tuple[str, ...]) -> ir.Model:
    with quiet(EXPORTER):
        translated = torch.onnx.export(
            program, (), dynamo=True, opset_version=OPSET, input_names=list(inputs), output_names=list(outputs),
            dynamic_shapes=tuple({0: "batch"} for _ in inputs), optimize=False, verbose=False,
        )  # fmt: skip
    assert translated is not None
    model: ir.Model = translated.model
    batch = ir.SymbolicDim("batch")
    for value in (*model.graph.inputs, *model.graph.outputs):
        assert value.shape is not None
        if not isinstance(value.shape[0], int):
            value.shape = ir.Shape([batch, *value.shape[1:]])
    return model


def _check_batch(
    network: nn.Module, graph: ir.Model, inputs: tuple[str, ...], *, channels: int, size: Sequence[int], run: bool
) -> None:
    """Raise ParityError unless a graph takes other batches than the traced one, and gives the network's outputs.

    Without `run` only what the graph states is checked.
    """
    for value in (*graph.graph.inputs, *graph.graph.outputs):
        first = None if value.shape is None else value.shape[0]
        if not isinstance(first, ir.SymbolicDim) or first.value is None:
            raise _frozen(f"the graph fixes the batch of '{value.name}' at {first}")
    if not run:
        return
    model = ir.to_proto(graph)
    if _weight_bytes(model) > MAX_BYTES:  # it cannot be written either
        return
    infer = inferrer(model)
    for count in _TRIED_BATCHES[: 1 if len(size) > 2 else None]:
        example = _example(network, count, channels, size)
        with torch.no_grad():
            found = network(*example)
        wanted = dict(zip(output_names(network), [found] if isinstance(found, torch.Tensor) else found, strict=True))
        try:
            outputs = infer({name: one.numpy() for name, one in zip(inputs, example, strict=True)})
        except runtime_errors() as error:
            raise _frozen(f"the graph does not run with a batch of {count} ({first_line(error)[:160]})") from None
        for name, reference in wanted.items():
            if not _same(outputs[name], reference.numpy()):
                raise _frozen(f"the graph gives other values of '{name}' than the network for a batch of {count}")


def _same(found: NDArray[Any], wanted: NDArray[Any]) -> bool:
    if found.shape != wanted.shape:
        return False
    limit = _SAME * max(1.0, float(np.abs(wanted).max(initial=0.0)))
    return bool((np.abs(found - wanted) <= limit).all())


def _frozen(given: str) -> ParityError:
    return ParityError(
        given,
        required="a free batch size",
        fix="make the network independent of the size of a batch",
    )


def _weight_bytes(model: onnx.ModelProto) -> int:
    return sum(len(tensor.raw_data) for tensor in model.graph.initializer)


def weight_census(graph: onnx.GraphProto) -> dict[str, WeightCount]:
    """Return the number of weights of a graph by number format."""
    tensors: Counter[str] = Counter()
    elements: Counter[str] = Counter()
    for tensor in graph.initializer:
        name = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).name
        tensors[name] += 1
        elements[name] += int(torch.Size(tensor.dims).numel())
    return {name: WeightCount(tensors=tensors[name], elements=elements[name]) for name in sorted(tensors)}
