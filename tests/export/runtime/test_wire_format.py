"""What stands at the top of an ONNX file, beside what onnx itself reads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper

from lorkit.export.runtime.wire_format import read_top_level


def model_of(nodes: int, metadata: dict[str, str], weights: int = 3) -> onnx.ModelProto:
    chain = [helper.make_node("Relu", [f"v{index}"], [f"v{index + 1}"]) for index in range(nodes)]
    ends = [helper.make_tensor_value_info(name, 1, ["n", weights]) for name in ("v0", f"v{nodes}")]
    kernel = numpy_helper.from_array(np.frombuffer(b"location" * weights, np.float32), "w")
    model = helper.make_model(helper.make_graph(chain, "g", ends[:1], ends[1:], [kernel]))
    helper.set_model_props(model, metadata)
    return model


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.integers(1, 200), st.dictionaries(st.text(max_size=5), st.text(max_size=300), max_size=4))
def test_metadata_and_nodes_are_those_that_onnx_reads(tmp_path: Path, nodes: int, metadata: dict[str, str]) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(model_of(nodes, metadata).SerializeToString())
    found, model = read_top_level(path), onnx.load(path)
    assert found is not None
    assert found.metadata == {entry.key: entry.value for entry in model.metadata_props} == metadata
    assert found.nodes == len(model.graph.node) == nodes


def test_onnx_reads_what_may_name_a_file_of_weights(tmp_path: Path) -> None:
    path, kernel = tmp_path / "m.onnx", numpy_helper.from_array(np.zeros(3, np.float32), "k")
    onnx.external_data_helper.set_external_data(kernel, location="k.bin")
    outside = onnx.TensorProto(name="k", data_location=kernel.data_location, external_data=kernel.external_data)
    constant = helper.make_node("Constant", [], ["o"], value=outside)
    function = helper.make_function("d", "f", [], ["o"], [constant], [helper.make_opsetid("", 17)])
    sparse = helper.make_sparse_tensor(outside, numpy_helper.from_array(np.zeros(3, np.int64), "i"), [9])
    for place in ("initializer", "node", "function", "sparse", "training"):
        model = model_of(1, {})
        if place == "initializer":
            model.graph.initializer.append(outside)
        elif place == "node":
            model.graph.node.append(constant)
        elif place == "function":
            model.functions.append(function)
        elif place == "sparse":
            model.graph.sparse_initializer.append(sparse)
        else:
            model.training_info.add().initialization.initializer.append(outside)
        path.write_bytes(model.SerializeToString())
        assert read_top_level(path) is None, place


def test_a_later_field_of_any_kind_is_skipped(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    later = b"\x80\x7d\x05" + b"\x81\x7d" + bytes(8) + b"\x85\x7d" + bytes(4) + b"\x82\x7d\x02ab"  # field 2000
    path.write_bytes(later + model_of(2, {"a": "b"}).SerializeToString() + later)
    assert read_top_level(path) == ({"a": "b"}, 2)
    onnx.load(path)


@pytest.mark.parametrize(
    "data", [b"\xff" * 40, b"\x3a\x7f\x00", b"\x3a", b"\x80" * 12 + b"\x00", b"\x3b\x3c", b"\x72\x03\x0a\x01\xff"]
)
def test_onnx_judges_what_does_not_look_like_an_onnx_file(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(data)
    assert read_top_level(path) is None


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.data())
def test_a_damaged_file_raises_nothing(tmp_path: Path, data: st.DataObject) -> None:
    path, whole = tmp_path / "m.onnx", bytearray(model_of(3, {"lorkit.region": "chest"}).SerializeToString())
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole)))])
    read_top_level(path)
