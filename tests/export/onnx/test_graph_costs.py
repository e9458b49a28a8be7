"""What an ONNX graph costs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from lorkit.export.onnx.graph_costs import GraphCosts, graph_costs, peak_activation_bytes


def graph(nodes: list[Any], *, weights: Any = (), size: list[Any] | None = None) -> onnx.ModelProto:
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, size or ["batch", 4])
    out = helper.make_tensor_value_info("out", TensorProto.FLOAT, None)
    body = helper.make_graph(nodes, "test", [image], [out], initializer=list(weights))
    return helper.make_model(body, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def test_a_chain_holds_two_values_at_a_time() -> None:
    chain = [helper.make_node("Relu", [one], [two]) for one, two in (("image", "a"), ("a", "b"), ("b", "out"))]
    assert peak_activation_bytes(graph(chain)) == 2 * 4 * 4


def test_a_residual_is_held_until_its_last_use() -> None:
    nodes = [
        helper.make_node("Relu", ["image"], ["a"]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Concat", ["image", "b", "a"], ["out"], axis=1),
    ]
    assert peak_activation_bytes(graph(nodes)) == (4 + 4 + 4 + 12) * 4


def test_weights_are_no_activations_and_formats_count_their_width() -> None:
    half = numpy_helper.from_array(np.zeros((4, 8), np.float16), "w")
    nodes = [
        helper.make_node("Cast", ["image"], ["a"], to=TensorProto.FLOAT16),
        helper.make_node("MatMul", ["a", "w"], ["b"]),
        helper.make_node("Cast", ["b"], ["out"], to=TensorProto.FLOAT),
    ]
    assert peak_activation_bytes(graph(nodes, weights=[half])) == 8 * 2 + 8 * 4


def test_what_is_computed_from_weights_alone_is_no_activation() -> None:
    """The weights of an int8 file are dequantised in the graph; a runtime does so once, when it loads it."""
    parts = {"w": np.zeros((4, 8), np.int8), "scale": np.ones(8, np.float32), "zero": np.zeros(8, np.int8)}
    nodes = [
        helper.make_node("DequantizeLinear", ["w", "scale", "zero"], ["floats"], axis=1),
        helper.make_node("Transpose", ["floats"], ["turned"], perm=[1, 0]),
        helper.make_node("Gemm", ["image", "turned"], ["out"], transB=1),
    ]
    weights = [numpy_helper.from_array(array, name) for name, array in parts.items()]
    assert peak_activation_bytes(graph(nodes, weights=weights)) == (4 + 8) * 4


def test_a_size_that_nobody_can_know_is_null() -> None:
    nodes = [helper.make_node("NonZero", ["image"], ["found"]), helper.make_node("Cast", ["found"], ["out"], to=1)]
    assert peak_activation_bytes(graph(nodes)) is None


def test_the_formats_of_weights_are_counted_in_bytes(tmp_path: Path) -> None:
    weights = [
        numpy_helper.from_array(np.zeros((4, 8), np.float32), "w"),
        numpy_helper.from_array(np.zeros(3, np.int8), "v"),
    ]
    onnx.save(graph([helper.make_node("MatMul", ["image", "w"], ["out"])], weights=weights), tmp_path / "model.onnx")
    found = graph_costs(tmp_path / "model.onnx")
    assert found == GraphCosts(nodes=1, dtypes={"float32": 128, "int8": 3}, peak_activation_bytes=(4 + 8) * 4)
    assert graph_costs(tmp_path / "none.onnx") == GraphCosts()
