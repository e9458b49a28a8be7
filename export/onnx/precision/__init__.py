"""Lower the precision of an ONNX file: precision is a property of the file, so every runtime that takes it agrees.

`fp16` and `bf16` convert weights and activations; `int8` puts quantise-dequantise pairs around every layer, from
images of the region's training part. What a network cannot stand is measured, and the layers that spoil it stay in
fp32 (`sensitivity`).
"""

from lorkit.export.onnx.precision.lowering import Calibration, Lowered, convert_precision, require_precision

__all__ = ["Calibration", "Lowered", "convert_precision", "require_precision"]
