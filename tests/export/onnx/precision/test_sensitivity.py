"""Layers rounded one at a time by a switch, beside graphs in which only that layer is quantised."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from lorkit.export.onnx.cpu_runner import inferrer
from lorkit.export.onnx.precision.int8 import quantise
from lorkit.export.onnx.precision.sensitivity import layer_inferrer

IMAGES = np.random.default_rng(0).random((8, 1, 6, 6), dtype=np.float32)
GIVEN = {"image": IMAGES}
LAYERS = ("first", "second", "head")


@pytest.fixture(scope="module")
def graph() -> onnx.ModelProto:
    """Two convolutions with a ReLU, whose second has one large weight, and a linear layer on the flattened maps."""
    generator = np.random.default_rng(1)
    second = generator.normal(size=(2, 4, 3, 3)).astype(np.float32)
    second[:, 0, 0, 0] = 60.0
    weights = {
        "a": generator.normal(size=(4, 1, 3, 3)).astype(np.float32),
        "b": second,
        "c": generator.normal(size=(8, 3)).astype(np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["image", "a"], ["maps"], "first"),
        helper.make_node("Relu", ["maps"], ["positive"], "relu"),
        helper.make_node("Conv", ["positive", "b"], ["small"], "second"),
        helper.make_node("Flatten", ["small"], ["flat"], "flatten"),
        helper.make_node("Gemm", ["flat", "c"], ["logits"], "head"),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 1, 6, 6])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 3])
    stored = [numpy_helper.from_array(values, name) for name, values in weights.items()]
    whole = helper.make_graph(nodes, "g", [image], [logits], stored)
    return helper.make_model(whole, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def _error(found: dict[str, np.ndarray], wanted: dict[str, np.ndarray]) -> float:
    return float(np.abs(found["logits"] - wanted["logits"]).max())


@pytest.mark.parametrize("scheme", ["asymmetric", "reduced", "symmetric"])
def test_each_layer_has_about_the_error_of_a_graph_with_only_that_layer_quantised(
    graph: onnx.ModelProto, scheme: str
) -> None:
    """That graph rounds the output of the layer too, which here is the input of the next one."""
    wanted = inferrer(graph)(GIVEN)
    of = layer_inferrer(graph, quantise(graph, GIVEN, scheme))
    found = {name: _error(of(name)(GIVEN), wanted) for name in LAYERS}
    alone = {name: _error(inferrer(quantise(graph, GIVEN, scheme, only=[name]))(GIVEN), wanted) for name in LAYERS}
    assert found["head"] == pytest.approx(alone["head"], rel=0.05)
    for name in LAYERS:
        assert 0.2 * alone[name] < found[name] < 3 * alone[name]


def test_a_layer_that_is_not_quantised_changes_nothing(graph: onnx.ModelProto) -> None:
    wanted = inferrer(graph)(GIVEN)
    of = layer_inferrer(graph, quantise(graph, GIVEN, "asymmetric", excluding=["second"]))
    assert _error(of("second")(GIVEN), wanted) == _error(of("relu")(GIVEN), wanted) < 1e-4
    assert _error(of("first")(GIVEN), wanted) > 1e-3
