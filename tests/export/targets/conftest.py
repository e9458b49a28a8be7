"""What targets are built from in their tests: a small convolutional network, its ONNX file and a few images."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from lorkit.export.targets import MODEL


class Drawn:
    """Calibration batches for ONNX Runtime's quantiser."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        generator = np.random.default_rng(0)
        self._batches = iter([{"image": generator.random((4, *shape), dtype=np.float32)} for _ in range(3)])

    def get_next(self) -> dict[str, Any] | None:
        return next(self._batches, None)


@pytest.fixture
def quick_compiler(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Trust the instruction sets that the CPU names, and optimise only the kernels, for less of its time."""
    from torch._inductor import config, cpu_vec_isa

    # those that extend a set are tried by compiling even where the set itself is taken for granted
    monkeypatch.setattr(cpu_vec_isa.VecISA, "check_build", lambda *_: True)
    with config.patch({"cpp.vec_isa_ok": True, "aot_inductor.compile_wrapper_opt_level": "O0"}):
        yield


@pytest.fixture
def lowered() -> Callable[..., None]:
    """Return a function that rewrites the `model.onnx` of a directory in another precision."""

    def lower(directory: Path, precision: str, *, symmetric: bool = True) -> None:
        path = directory / MODEL
        if precision == "int8":
            from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

            shape = tuple(side.dim_value for side in onnx.load(path).graph.input[0].type.tensor_type.shape.dim[1:])
            options = {"ActivationSymmetric": True, "WeightSymmetric": True, "QuantizeBias": False}
            quantize_static(
                path, path, Drawn(shape), quant_format=QuantFormat.QDQ, weight_type=QuantType.QInt8,
                activation_type=QuantType.QInt8 if symmetric else QuantType.QUInt8,
                extra_options=options if symmetric else {},
            )  # fmt: skip
        elif precision != "fp32":
            from onnxruntime.transformers.float16 import convert_float_to_float16

            model = convert_float_to_float16(onnx.load(path), keep_io_types=True)
            onnx.save(model if precision == "fp16" else to_bf16(model), path)

    return lower


def to_bf16(model: onnx.ModelProto) -> onnx.ModelProto:
    """Rename every fp16 tensor of a model to bf16; convolutions take those from opset 22."""
    import ml_dtypes

    half, brain = onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16
    for tensor in model.graph.initializer:
        if tensor.data_type == half:
            values = onnx.numpy_helper.to_array(tensor).astype(ml_dtypes.bfloat16)
            tensor.CopyFrom(
                onnx.TensorProto(name=tensor.name, data_type=brain, dims=tensor.dims, raw_data=values.tobytes())
            )
    for attribute in (item for node in model.graph.node for item in node.attribute):
        if attribute.name == "to" and attribute.i == half:
            attribute.i = brain
    del model.graph.value_info[:]
    model.opset_import[0].version = 22
    return model
