"""Half precision of a graph that is written by hand."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from lorkit.export.onnx.precision.half import overflowing, to_half_precision

IMAGES = np.full((2, 4), 3.0, dtype=np.float32)
GIVEN = {"image": IMAGES}


def graph(scale: float) -> onnx.ModelProto:
    """Two products with (4, 4) weights; the second takes back the scale of the first."""
    weights = [numpy_helper.from_array(np.full((4, 4), value, np.float32), name)
               for name, value in (("w0", scale), ("w1", 1 / scale))]  # fmt: skip
    nodes = [
        helper.make_node("MatMul", ["image", "w0"], ["inner"], "first"),
        helper.make_node("MatMul", ["inner", "w1"], ["logits"], "second"),
    ]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 4]) for name in ("image", "logits")]
    whole = helper.make_graph(nodes, "g", ends[:1], ends[1:], weights)
    return helper.make_model(whole, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


@pytest.mark.parametrize(("precision", "kind"), [("fp16", TensorProto.FLOAT16), ("bf16", TensorProto.BFLOAT16)])
def test_weights_are_stored_in_the_precision_and_the_ends_stay_float(precision: str, kind: int) -> None:
    found = to_half_precision(graph(1.001), precision)
    onnx.checker.check_model(found, full_check=True)
    assert {tensor.data_type for tensor in found.graph.initializer} == {kind}
    ends = (*found.graph.input, *found.graph.output)
    assert {value.type.tensor_type.elem_type for value in ends} == {TensorProto.FLOAT}
    assert found.opset_import[0].version == (22 if precision == "bf16" else 20)
    (stored,) = {
        float(numpy_helper.to_array(tensor).flat[0]) for tensor in found.graph.initializer if tensor.name == "w0"
    }
    assert stored == (1.0 if precision == "bf16" else pytest.approx(np.float16(1.001)))


def test_layers_that_are_left_out_pass_fp32_on_without_a_detour() -> None:
    model = graph(1e6)
    assert overflowing(model, GIVEN) == ["first", "second"]
    assert overflowing(graph(1.0), GIVEN) == []
    found = to_half_precision(model, "fp16", excluding=["first", "second"])
    assert {tensor.data_type for tensor in found.graph.initializer} == {TensorProto.FLOAT}
    assert [node.op_type for node in found.graph.node if node.op_type == "Cast"] == []


@pytest.mark.parametrize(("peak", "kept"), [(65504 / 4 * 0.99, []), (65504 / 4 * 1.01, ["first", "second"])])
def test_values_have_a_headroom_of_four(peak: float, kept: list[str]) -> None:
    """Products of `IMAGES` with the first weights are 4 * 3 of them."""
    assert overflowing(graph(-peak / 12), GIVEN) == kept


def test_weights_that_fp16_cannot_hold_are_kept_whatever_the_activations_are() -> None:
    model = graph(1.0)
    model.graph.initializer[1].CopyFrom(numpy_helper.from_array(np.diag([1, 1, 1, -65504.0]).astype(np.float32), "w1"))
    assert overflowing(model, {"image": 0 * IMAGES}) == ["second"]
    model.graph.initializer[1].CopyFrom(numpy_helper.from_array(np.diag([1, 1, 1, -65503.0]).astype(np.float32), "w1"))
    assert overflowing(model, {"image": 0 * IMAGES}) == []
