"""Find the first wrong layer of an export by bisection over prefixes of its graph.

The graph is cut after a layer, the prefix is built and run by the export's target, and its output is compared with that
of the float32 graph in ONNX Runtime. Errors grow from layer to layer, so the first layer beyond the limit is found with
a few builds; the tried prefixes and their errors are part of the result.
"""

from __future__ import annotations

import tempfile
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
from onnx import TensorProto, helper

from lorkit import profiles
from lorkit.decompose.artifacts import write_bytes
from lorkit.decompose.documents.heads import LOGITS
from lorkit.decompose.documents.verify import Bisection, BisectionStep
from lorkit.decompose.errors import UsageError
from lorkit.export.building.sources import ExportableNetwork
from lorkit.export.onnx.conversion import Tracer
from lorkit.export.onnx.cpu_runner import inferrer
from lorkit.export.runtime.exported import Exported
from lorkit.export.runtime.parity import TOLERANCES
from lorkit.export.targets import MODEL, Target, get_target
from lorkit.export.targets.base import BuildRequest, Inputs, Outputs

_IMAGES = 8
Error = Callable[[str], float]


def first_wrong_layer(
    lowered: onnx.ModelProto,
    original: onnx.ModelProto,
    target: Target,
    request: BuildRequest,
    inputs: Inputs,
    limit: float,
) -> Bisection:
    """Find the first layer whose output differs by more than a fraction of its largest value.

    Args:
        lowered: The export's graph, at its precision.
        original: The float32 graph of the same network, with the same names.
        target: Target that builds and runs the prefixes.
        request: The build request of the export; its directory is not changed.
        inputs: Images (N, C, *spatial) to run, with their regions if the graphs take them.
        limit: Largest error, a fraction of the largest value of a layer's output.

    Returns:
        `layer` and `op` (None if no layer exceeds the limit), its `error` and that of the layer `before`, the `limit`,
        and the `steps` tried.

    Raises:
        UsageError: The target is not built from ONNX, or the graphs share no names.
    """
    if target.built_from != "onnx":
        raise UsageError(
            f"--bisect for target {target.name}, which is compiled from PyTorch",
            required="a target that is built from ONNX",
            fix="bisect the onnx export of the same network",
        )
    layers = _common_layers(lowered, original)
    steps: list[BisectionStep] = []

    def error(name: str) -> float:
        (wanted,) = inferrer(beginning(original, name))(inputs).values()
        (found,) = _run(target, request, beginning(lowered, name), inputs).values()
        difference = np.abs(found - wanted).max() / max(float(np.abs(wanted).max()), 1e-30)
        steps.append(BisectionStep(layer=name, layer_error=_finite(float(difference))))
        return float(difference) if np.isfinite(difference) else float("inf")

    index, errors = bisect([name for name, _ in layers], error, limit)
    found = None if index is None else layers[index]
    return Bisection(
        layer=None if found is None else found[0],
        op=None if found is None else found[1],
        layer_error=None if index is None else _finite(errors[index]),
        before=None if not index else _finite(errors.get(index - 1)),
        limit=limit,
        compared_layers=steps,
    )


def bisect_export(exported: Exported, source: ExportableNetwork, inputs: Inputs) -> Bisection:
    """Find the first layer of an export that exceeds the tolerance of its precision; see `first_wrong_layer`."""
    precision, first, (channels, *size) = exported.info.precision, exported.info.inputs[0], source.shape
    request = BuildRequest(
        directory=exported.path,
        network=source.network,
        precision=precision,
        profile=profiles.load(exported.info.profile),
        shape=source.shape,
        info=exported.info,
        images=inputs[first][:1],
    )
    graph = (
        source.graph() if source.graph else Tracer().graph(source.network, channels=channels, size=size, first=first)
    )
    original = ir.to_proto(graph)
    lowered = onnx.load(exported.path / MODEL)
    target = get_target(exported.info.target)
    few = {name: values[:_IMAGES] for name, values in inputs.items()}
    return first_wrong_layer(lowered, original, target, request, few, TOLERANCES[precision])


def bisect(names: list[str], error: Error, limit: float) -> tuple[int | None, dict[int, float]]:
    """Return the index of the first name whose error exceeds the limit, and the errors; None if the last does not.

    Errors are assumed to grow along the names; each name is evaluated at most once.
    """
    errors: dict[int, float] = {}

    def wrong(index: int) -> bool:
        if index not in errors:
            errors[index] = error(names[index])
        return not errors[index] <= limit

    last = len(names) - 1
    if not names or not wrong(last):
        return None, errors
    return bisect_left(range(last), True, key=wrong), errors


def beginning(model: onnx.ModelProto, name: str) -> onnx.ModelProto:
    """Return a graph up to the layer with the output `name`, which becomes the float32 output."""
    typed = onnx.shape_inference.infer_shapes(model)
    extracted = onnx.utils.Extractor(typed).extract_model([value.name for value in model.graph.input], [name])
    (value,) = extracted.graph.output
    shape = value.type.tensor_type.shape
    ends = name in {value.name for value in model.graph.output}
    output = helper.make_tensor_value_info(name if ends else LOGITS, TensorProto.FLOAT, None)
    output.type.tensor_type.shape.CopyFrom(shape)
    if not ends:
        cast = helper.make_node("Cast", [name], [LOGITS], name="cut", to=TensorProto.FLOAT)
        extracted.graph.node.append(cast)
    del extracted.graph.output[:]
    extracted.graph.output.append(output)
    del extracted.graph.value_info[:]
    extracted.ir_version = model.ir_version
    return extracted


def _common_layers(lowered: onnx.ModelProto, original: onnx.ModelProto) -> list[tuple[str, str]]:
    """Return (output, operator) of each node that is in both graphs, in order."""
    names = {output for node in lowered.graph.node for output in node.output}
    layers = [(node.output[0], node.op_type) for node in original.graph.node if node.output[0] in names]
    if not layers:
        raise UsageError(
            "the export's graph shares no layer with its source's",
            required="an export of this version",
            fix="export it again with --force",
        )
    return layers


def _run(target: Target, request: BuildRequest, piece: onnx.ModelProto, inputs: Inputs) -> Outputs:
    with tempfile.TemporaryDirectory(prefix="lorkit-") as folder:
        write_bytes(Path(folder) / MODEL, piece.SerializeToString())
        target.build(replace(request, directory=Path(folder)))
        with target.load(Path(folder)) as engine:
            return engine.infer(inputs)


def _finite(value: float | None) -> float | None:
    return value if value is not None and np.isfinite(value) else None
