from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from lorkit.decompose.errors import ArtifactError
from lorkit.export.runtime.graph_file import file_macs, graph_macs, read_graph_file


def graph(op: str, given: list[int], weight: tuple[int, ...], result: list[int], **attributes: Any) -> onnx.ModelProto:
    node = helper.make_node(op, ["x", "w"], ["y"], **attributes)
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", *dims]) for name, dims in
            (("x", given), ("y", result))]  # fmt: skip
    kernel = numpy_helper.from_array(np.zeros(weight, np.float32), "w")
    return helper.make_model(helper.make_graph([node], "g", ends[:1], ends[1:], [kernel]))


@pytest.mark.parametrize(
    ("model", "macs"),
    [
        (graph("Conv", [3, 8, 8], (6, 3, 3, 3), [6, 6, 6]), 6 * 6 * 6 * 27),
        (graph("Conv", [4, 8, 8], (4, 1, 3, 3), [4, 6, 6], group=4), 4 * 6 * 6 * 9),
        (graph("Conv", [1, 4, 4, 4], (2, 1, 2, 2, 2), [2, 3, 3, 3]), 2 * 27 * 8),
        (graph("ConvTranspose", [3, 4, 4], (3, 5, 2, 2), [5, 8, 8], strides=[2, 2]), 3 * 16 * 5 * 4),
        (graph("Gemm", [7], (5, 7), [5], transB=1), 35),
        (graph("MatMul", [4, 7], (7, 5), [4, 5]), 4 * 5 * 7),
    ],
)
def test_products_are_counted_for_one_image(model: onnx.ModelProto, macs: int) -> None:
    assert graph_macs(model) == macs


def test_an_unknown_shape_is_not_guessed() -> None:
    model = graph("Conv", [3, 8, 8], (6, 3, 3, 3), [6, 6, 6])
    model.graph.node[0].input[0] = "nowhere"
    assert graph_macs(model) is None


def test_metadata_and_files_of_weights_are_listed(tmp_path: Path) -> None:
    model = graph("MatMul", [4, 7], (7, 5), [4, 5])
    helper.set_model_props(model, {"lorkit.region": "chest", "other": "x"})
    tensor = model.graph.initializer[0]
    onnx.external_data_helper.set_external_data(tensor, location="sub/w.bin")
    tensor.ClearField("raw_data")
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    found = read_graph_file(tmp_path / "m.onnx", "a")
    assert (dict(found.metadata), found.nodes, found.outside) == ({"region": "chest"}, 1, ("sub/w.bin",))
    assert file_macs(tmp_path / "m.onnx", "a") == 4 * 5 * 7


def test_weights_inside_a_branch_are_found(tmp_path: Path) -> None:
    kernel = numpy_helper.from_array(np.zeros(3, np.float32), "k")
    onnx.external_data_helper.set_external_data(kernel, location="../k.bin")
    kernel.ClearField("raw_data")
    out = helper.make_tensor_value_info("o", TensorProto.FLOAT, [3])
    branch = helper.make_graph([helper.make_node("Constant", [], ["o"], value=kernel)], "b", [], [out])
    node = helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch)
    ends = [helper.make_tensor_value_info("c", TensorProto.BOOL, []), helper.make_tensor_value_info("y", 1, [3])]
    model = helper.make_model(helper.make_graph([node], "g", ends[:1], ends[1:]))
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    assert read_graph_file(tmp_path / "m.onnx", "b").outside == ("../k.bin",)


def test_no_onnx_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"\xff" * 40)
    with pytest.raises(ArtifactError, match="is no ONNX file"):
        read_graph_file(tmp_path / "m.onnx", "c")


def test_weights_of_a_function_and_of_a_sparse_attribute_are_found(tmp_path: Path) -> None:
    def outside(name: str) -> TensorProto:
        tensor = numpy_helper.from_array(np.zeros(3, np.float32), name)
        onnx.external_data_helper.set_external_data(tensor, location=f"../{name}.bin")
        tensor.ClearField("raw_data")
        return tensor

    model = graph("MatMul", [4, 7], (7, 5), [4, 5])
    inner = helper.make_node("Constant", [], ["c"], value=outside("inside"))
    model.functions.append(helper.make_function("own", "f", [], ["c"], [inner], [helper.make_opsetid("", 18)]))
    sparse = onnx.SparseTensorProto(values=outside("sparse"), dims=[9])
    model.graph.node.append(helper.make_node("Constant", [], ["s"], sparse_value=sparse))
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    assert read_graph_file(tmp_path / "m.onnx", "b").outside == ("../inside.bin", "../sparse.bin")
