"""Run a graph in memory with ONNX Runtime on the CPU."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import onnxruntime

from lorkit.decompose.artifacts.arrays import Float32Array

_BATCH = 8
PROVIDER = "CPUExecutionProvider"


def runner(model: onnx.ModelProto) -> Callable[[Float32Array], Float32Array]:
    """Return a function from images (N, C, *spatial) to the graph's first output."""
    session, name = _session(model), model.graph.input[0].name

    def run(batch: Float32Array) -> Float32Array:
        logits: Float32Array = session.run(None, {name: batch})[0]
        return logits

    return run


def largest_values(model: onnx.ModelProto, images: Float32Array) -> dict[str, float]:
    """Return the largest absolute value of every float32 tensor between the layers, NaN where one was NaN."""
    seen = onnx.ModelProto.FromString(onnx.shape_inference.infer_shapes(model).SerializeToString())
    inner = [one for one in seen.graph.value_info if one.type.tensor_type.elem_type == onnx.TensorProto.FLOAT]
    seen.graph.output.extend(inner)
    session, names = _session(seen), [one.name for one in inner]
    largest = np.zeros(len(names))
    for start in range(0, len(images), _BATCH):
        found = session.run(names, {model.graph.input[0].name: images[start : start + _BATCH]})
        largest = np.maximum(largest, [np.abs(values).max(initial=0.0) for values in found])  # NaN stays
    return dict(zip(names, largest.tolist(), strict=True))


def _session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=[PROVIDER])
