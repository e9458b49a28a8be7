"""What the ONNX files of this project have in common: the operator set, and no trace of the machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx

OPSET = 20
MAX_BATCH = 65536
TRACED_BATCH = 2  # torch.export specialises 0 and 1
EXPORTER = "torch.onnx._internal.exporter._registration"
"""Logger that warns of missing torchvision."""


def strip(model: onnx.ModelProto) -> None:
    """Remove what identifies the machine that traced a graph: stack traces, source lines, class paths."""
    model.producer_name, model.producer_version, model.doc_string = "lorkit", "", ""
    del model.metadata_props[:]
    graph = model.graph
    graph.doc_string = ""
    del graph.metadata_props[:]
    # runtimes infer shapes of inner values; the exporter's names for them vary
    del graph.value_info[:]
    for part in (*graph.node, *graph.input, *graph.output, *graph.initializer):
        part.doc_string = ""
        del part.metadata_props[:]
