"""The base of ONNX Runtime adapters: a graph whose adapter, norms and head are inputs with defaults.

The defaults are those of the first region, except its head, which is not a number: a run without an adapter gives NaN
rather than the answer of a region that nobody named.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from lorkit.decompose.documents.heads import IMAGE, LOGITS
from lorkit.decompose.errors import ParityError, first_line
from lorkit.export.targets.graphs import EXPORTER, MAX_BATCH, OPSET, TRACED_BATCH, strip
from lorkit.export.targets.quiet import quiet

if TYPE_CHECKING:
    import onnx

    from lorkit.decompose.models.mixtures.adapters import AdapterNetwork

_TRACED_CLASSES = 3  # as for the batch


def base_graph(network: AdapterNetwork, shape: tuple[int, ...]) -> onnx.ModelProto:
    """Return the base for images (C, *spatial) with free numbers of images and classes.

    Raises:
        ParityError: The network cannot be traced.
    """
    import onnx
    import torch
    from onnxscript import ir, optimizer

    first = next(iter(network.adapters.values()))
    batch, classes = torch.export.Dim("batch", min=1, max=MAX_BATCH), torch.export.Dim("classes", min=1, max=MAX_BATCH)
    free = {name: network.of_head(name) for name in first}
    example = [one.new_zeros(_TRACED_CLASSES, *one.shape[1:]) if free[name] else one for name, one in first.items()]
    shapes: Any = ({0: batch}, tuple({0: classes} if free[name] else {} for name in first))
    try:
        with quiet(EXPORTER), torch.no_grad():
            program = torch.export.export(
                network.eval(), (torch.rand(TRACED_BATCH, *shape), *example), dynamic_shapes=shapes, strict=False
            )
            translated = torch.onnx.export(
                program, (), dynamo=True, opset_version=OPSET, input_names=list(network.input_names),
                output_names=list(network.output_names), optimize=False, verbose=False,
            )  # fmt: skip
    except RuntimeError as error:  # torch's user errors are RuntimeErrors
        raise ParityError(
            f"torch.export cannot trace the base of {type(network).__name__} ({first_line(error)})",
            required="a network whose numbers of images and classes are free",
            fix="export the network by region id to target onnx",
        ) from None
    assert translated is not None
    graph: ir.Model = translated.model
    with quiet(EXPORTER):
        optimizer.optimize(graph)
    model: onnx.ModelProto = ir.to_proto(graph)
    strip(model)
    _name_axes(model)
    for name, value in first.items():
        default = value.numpy()
        default = np.full_like(default, np.nan) if free[name] else default
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.ascontiguousarray(default), name))
    onnx.checker.check_model(model, full_check=True)
    return model


def _name_axes(model: onnx.ModelProto) -> None:
    """Name the free axes: the images of input and output, the outputs of the head and of the network."""
    for value in (*model.graph.input, *model.graph.output):
        for at, side in enumerate(value.type.tensor_type.shape.dim):
            if side.HasField("dim_param"):
                side.dim_param = "batch" if at == 0 and value.name in (IMAGE, LOGITS) else "classes"
