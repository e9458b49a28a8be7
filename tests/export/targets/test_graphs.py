from __future__ import annotations

import onnx

from lorkit.export.targets.graphs import strip


def test_nothing_of_the_machine_is_left() -> None:
    value = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1])
    node = onnx.helper.make_node("Relu", ["x"], ["y"], doc_string="/home/somebody/network.py")
    out = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1])
    model = onnx.helper.make_model(onnx.helper.make_graph([node], "g", [value], [out]), producer_name="pytorch")
    onnx.helper.set_model_props(model, {"path": "/home"})
    strip(model)
    content = model.SerializeToString()
    assert b"home" not in content
    assert b"pytorch" not in content
    assert model.producer_name == "lorkit"
    onnx.checker.check_model(model)
