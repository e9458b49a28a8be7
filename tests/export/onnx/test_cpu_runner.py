"""What a graph makes of images, against the same arithmetic in numpy."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from lorkit.export.onnx.cpu_runner import inferrer, largest_values


def chain() -> onnx.ModelProto:
    """image -> x 3 -> square -> sum."""
    nodes = [
        helper.make_node("Mul", ["image", "three"], ["tripled"]),
        helper.make_node("Mul", ["tripled", "tripled"], ["squared"]),
        helper.make_node("ReduceSum", ["squared", "axes"], ["logits"], keepdims=0),
    ]
    weights = [numpy_helper.from_array(np.float32(3), "three"), numpy_helper.from_array(np.array([1, 2, 3]), "axes")]
    taken = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 1, 2, 2])
    given = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch"])
    graph = helper.make_graph(nodes, "chain", [taken], [given], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def test_the_largest_of_every_inner_value_over_all_batches() -> None:
    images = np.linspace(-2, 1, 80, dtype=np.float32).reshape(20, 1, 2, 2)
    model = chain()
    before = model.SerializeToString()
    np.testing.assert_allclose(inferrer(model)({"image": images})["logits"], (9 * images**2).sum((1, 2, 3)), rtol=1e-6)
    assert largest_values(model, {"image": images}) == {"tripled": 6.0, "squared": 36.0}
    assert model.SerializeToString() == before


def test_numbers_that_are_not_float32_are_left_out() -> None:
    """Places and sizes are often large, and are never lowered."""
    model = chain()
    model.graph.node.insert(2, helper.make_node("Cast", ["squared"], ["counted"], to=TensorProto.INT64))
    model.graph.node.insert(3, helper.make_node("Cast", ["counted"], ["back"], to=TensorProto.FLOAT))
    model.graph.node[4].input[0] = "back"
    assert largest_values(model, {"image": np.full((2, 1, 2, 2), 2.0, np.float32)}) == {
        "tripled": 6,
        "squared": 36,
        "back": 36,
    }


def test_a_nan_is_not_taken_for_a_small_value() -> None:
    images = np.ones((20, 1, 2, 2), np.float32)
    images[3] = np.nan  # in the first of three batches
    assert all(np.isnan(value) for value in largest_values(chain(), {"image": images}).values())
