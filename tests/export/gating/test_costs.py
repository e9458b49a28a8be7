from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from lorkit.export.gating.costs import judge_costs
from lorkit.export.onnx.graph_costs import graph_costs, peak_activation_bytes
from lorkit.export.runtime.exported import ExportPair, read_exported


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
    assert found == {"nodes": 1, "dtypes": {"float32": 128, "int8": 3}, "peak_activation_bytes": (4 + 8) * 4}
    assert graph_costs(tmp_path / "none.onnx") == {}


def test_more_nodes_are_stated_and_fail_nothing(workshop: Any, tmp_path: Path) -> None:
    small, large = (
        read_exported(workshop.write_export(tmp_path / name, owner="expert", region="chest", work=work))
        for name, work in (("small", 1), ("large", 3))
    )
    same, reasons = judge_costs(ExportPair(small, small), 0.03)
    assert same["verdict"] == "pass"
    assert [same[name]["ratio"] for name in ("bytes", "macs", "nodes", "peak_activation_bytes")] == [1, 1, 1, 1]
    assert len(reasons) == 2
    grown, reasons = judge_costs(ExportPair(small, large), 10.0)
    assert grown["verdict"] == "pass"
    assert grown["nodes"]["candidate"] == grown["nodes"]["baseline"] + 4
    assert any("nodes" in reason and "not judged" in reason for reason in reasons)
    assert judge_costs(ExportPair(small, large), 0.03)[0]["verdict"] == "fail"


@pytest.mark.parametrize("missing", ["macs", "size"])
def test_without_a_file_or_a_number_nothing_is_judged(workshop: Any, tmp_path: Path, missing: str) -> None:
    one = read_exported(workshop.write_export(tmp_path / "a", owner="expert", region="chest"))
    if missing == "macs":
        one.info.pop("macs")
        assert judge_costs(ExportPair(one, one), 0.03)[0]["macs"]["verdict"] == "not_judged"
    else:
        (one.path / "model.onnx").unlink()
        assert judge_costs(ExportPair(one, one), 0.03)[0]["nodes"]["verdict"] == "not_judged"
