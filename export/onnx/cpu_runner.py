"""Run a graph in memory with ONNX Runtime on the CPU."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import onnxruntime

from lorkit.export.targets.base import Inputs, Outputs, batches
from lorkit.export.targets.inference_limits import run_within_limits

_BATCH = 8
PROVIDER = "CPUExecutionProvider"


def inferrer(model: onnx.ModelProto) -> Callable[[Inputs], Outputs]:
    """Return a function from a graph's inputs to its outputs, both by name."""
    session, names = _session(model), [value.name for value in model.graph.output]
    return lambda inputs: dict(zip(names, run_within_limits(session, names, inputs), strict=True))


def largest_values(model: onnx.ModelProto, inputs: Inputs) -> dict[str, float]:
    """Return the largest absolute value of every float32 tensor between the layers, NaN where one was NaN."""
    seen = onnx.ModelProto.FromString(onnx.shape_inference.infer_shapes(model).SerializeToString())
    inner = [one for one in seen.graph.value_info if one.type.tensor_type.elem_type == onnx.TensorProto.FLOAT]
    seen.graph.output.extend(inner)
    session, names = _session(seen), [one.name for one in inner]
    largest = np.zeros(len(names))
    for _, batch in batches(inputs, _BATCH):
        found = run_within_limits(session, names, batch)
        largest = np.maximum(largest, [np.abs(values).max(initial=0.0) for values in found])  # NaN stays
    return dict(zip(names, largest.tolist(), strict=True))


def _session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # the error is raised too
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=[PROVIDER])
