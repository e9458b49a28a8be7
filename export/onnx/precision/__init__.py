"""Lower the precision of an ONNX file, in the file itself, so that all runtimes use the same.

`fp16` and `bf16` convert weights and activations; `int8` adds quantise-dequantise pairs around every layer, calibrated
on the region's training part. Layers that are measured to be sensitive stay in fp32.
"""

from lorkit.export.onnx.precision.lowering import Lowered, convert_precision, require_precision

__all__ = ["Lowered", "convert_precision", "require_precision"]
