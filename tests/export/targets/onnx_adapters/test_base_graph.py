from __future__ import annotations

import numpy as np
import onnx
import onnxruntime

from lorkit.export.targets.base import BuildRequest


def test_without_an_adapter_nobody_is_answered(built: BuildRequest) -> None:
    session = onnxruntime.InferenceSession(built.directory / "base.onnx", providers=["CPUExecutionProvider"])
    (logits,) = session.run(["logits"], {"image": np.zeros((2, 1, 16, 16), np.float32)})
    assert np.isnan(logits).all()


def test_the_base_names_no_machine_and_holds_each_tensor_of_an_adapter(built: BuildRequest) -> None:
    model = onnx.load(built.directory / "base.onnx")
    inputs = [value.name for value in model.graph.input]
    parameters = onnxruntime.AdapterFormat.read_adapter(
        str(built.directory / "base.knee.onnx_adapter")
    ).get_parameters()
    assert inputs == ["image", *sorted(parameters, key=inputs.index)]
    assert set(inputs[1:]) <= {tensor.name for tensor in model.graph.initializer}
    assert [side.dim_param for side in model.graph.output[0].type.tensor_type.shape.dim] == ["batch", "classes"]
    for trace in (b"site-packages", b".py", b"stack_trace"):
        assert trace not in (built.directory / "base.onnx").read_bytes()
