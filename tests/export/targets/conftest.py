"""What targets are built from in their tests: a small convolutional network, its ONNX file and a few images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from lorkit import profiles
from lorkit.decompose.documents.export import ExportedNetwork
from lorkit.decompose.models.deployable import Deployable
from lorkit.export.onnx.conversion import to_onnx
from lorkit.export.runtime.parity import seeded_inputs
from lorkit.export.targets import MODEL
from lorkit.export.targets.base import BuildRequest

CLASSES = ("healthy", "ill", "unclear")
RECIPE: dict[str, Any] = {
    "version": 1,
    "steps": [
        {"op": "intensity", "rule": "dtype"},
        {"op": "resize", "size": [16, 16], "filter": "bilinear"},
        {"op": "channels", "count": 1},
        {"op": "normalise", "mean": [0.5], "std": [0.25]},
    ],
}


_TRACED: dict[tuple[int, ...], bytes] = {}  # tracing costs seconds, and every test takes the same network


def network(channels: int = 1, classes: int = len(CLASSES)) -> Deployable:
    """Two convolutions with batch norms whose statistics are not those of a new network, and a head."""
    torch.manual_seed(0)
    body = nn.Sequential(
        nn.Conv2d(channels, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(),
        nn.Conv2d(8, 16, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, classes),
    )  # fmt: skip
    with torch.no_grad():
        body.train()(torch.randn(64, channels, 16, 16))
    return Deployable(body, mean=[0.5] * channels, std=[0.25] * channels).eval()


@pytest.fixture
def build_request() -> Callable[..., BuildRequest]:
    """Return a function that makes a build request of a directory, with its `model.onnx` unless one lies there."""

    def make(
        directory: Path,
        *,
        precision: str = "fp32",
        profile: str = "cpu-generic",
        shape: tuple[int, ...] = (1, 16, 16),
        **info: Any,
    ) -> BuildRequest:
        inside = network(shape[0])
        if not (directory / MODEL).exists():
            if shape not in _TRACED:
                to_onnx(inside, directory / MODEL, channels=shape[0], size=shape[1:], metadata={"region": "chest"})
                _TRACED[shape] = (directory / MODEL).read_bytes()
            (directory / MODEL).write_bytes(_TRACED[shape])
        facts = {"region": "chest", "owner": "expert", "task": "classification", "classes": list(CLASSES)}
        facts |= {"outputs": list(CLASSES), "recipe": RECIPE, "synthetic": False}
        return BuildRequest(
            directory=directory,
            network=inside,
            precision=precision,
            profile=profiles.load(profile),
            shape=shape,
            info=ExportedNetwork.model_validate(facts | info),
            images=seeded_inputs(shape, 4) if len(shape) > 1 else np.ones((4, *shape), np.float32),
        )

    return make


class Drawn:
    """Calibration batches for ONNX Runtime's quantiser."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        generator = np.random.default_rng(0)
        self._batches = iter([{"image": generator.random((4, *shape), dtype=np.float32)} for _ in range(3)])

    def get_next(self) -> dict[str, Any] | None:
        return next(self._batches, None)


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
