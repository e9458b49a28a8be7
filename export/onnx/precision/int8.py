"""Static int8: quantise-dequantise pairs around every layer, scales from calibration images.

Weights are int8 by output channel. `asymmetric`: uint8 activations, for CPUs with VNNI. `reduced`: the same with
weights of seven bits: x86 CPUs without VNNI add two products in 16 bits (VPMADDUBSW), which saturate with eight.
`symmetric`: int8 activations with zero point 0 and float biases, as TensorRT's parser requires.
"""

from __future__ import annotations

import inspect
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from lorkit.export.targets.base import Inputs, batches
from lorkit.export.targets.quiet import quiet

_BATCH = 8


class _CalibrationBatches:
    """Calibration images in small batches, for ONNX Runtime's calibrators."""

    def __init__(self, inputs: Inputs) -> None:
        self._batches = (part for _, part in batches(inputs, _BATCH))

    def get_next(self) -> Inputs | None:
        return next(self._batches, None)


def quantise(
    model: onnx.ModelProto,
    inputs: Inputs,
    scheme: str,
    *,
    only: Sequence[str] | None = None,
    excluding: Sequence[str] = (),
    ranges: Path | None = None,
) -> onnx.ModelProto:
    """Return an int8 graph with float32 images and outputs.

    Args:
        model: A float32 graph; it is not changed.
        inputs: Calibration images, with their regions if the graph takes them, for the ranges of activations.
        scheme: "asymmetric", "reduced" or "symmetric".
        only: Names of the nodes to quantise; all by default.
        excluding: Names of nodes that stay in fp32.
        ranges: File with the ranges of this graph on these images, written if it is missing.
    """
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    symmetric = scheme == "symmetric"
    known = "calibration_cache_path" in inspect.signature(quantize_static).parameters  # older releases measure again
    kept: dict[str, Any] = {} if ranges is None or not known else {"calibration_cache_path": ranges}
    extra: dict[str, Any] = {"ActivationSymmetric": symmetric, "WeightSymmetric": True, "QuantizeBias": not symmetric}
    # held back: the quantiser's advice to run its pre-processing; the graph comes folded and with its shapes
    with tempfile.TemporaryDirectory() as folder, quiet(), np.errstate(all="ignore"):
        path = Path(folder) / "int8.onnx"
        quantize_static(
            onnx.shape_inference.infer_shapes(model),
            path,
            _CalibrationBatches(inputs),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            reduce_range=scheme == "reduced",
            activation_type=QuantType.QInt8 if symmetric else QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_quantize=None if only is None else list(only),
            nodes_to_exclude=list(excluding),
            extra_options=extra,
            **kept,
        )
        quantised = onnx.load(path)
    used = {node.domain or "" for node in quantised.graph.node}
    domains = [entry for entry in quantised.opset_import if entry.domain in used]
    del quantised.opset_import[:]
    quantised.opset_import.extend(domains)
    del quantised.graph.value_info[:]
    del quantised.metadata_props[:]
    return quantised
