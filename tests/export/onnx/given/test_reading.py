"""What of a foreign ONNX file is read, and what is refused by name before anything of it runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from given_networks import write_given
from onnx import TensorProto, helper

from lorkit.decompose.errors import ArtifactError, LorkitError, MissingDataError, UsageError
from lorkit.export.onnx.given.reading import read_given


def changed(path: Path, change: Callable[[onnx.ModelProto], object]) -> Path:
    model = onnx.load(write_given(path))
    change(model)
    path.write_bytes(model.SerializeToString())
    return path


def test_the_file_says_what_it_takes(tmp_path: Path) -> None:
    file = read_given(write_given(tmp_path / "a.onnx", batch=1))
    assert (file.input_name, file.input_shape, file.output_name, file.opset) == ("x", (1, 1, 16, 16), "logits", 17)
    assert read_given(write_given(tmp_path / "b.onnx")).told == "its input 'x' is ? x 1 x 16 x 16, its output 'logits'"


def test_weights_beside_the_file_come_into_it(tmp_path: Path) -> None:
    path = write_given(tmp_path / "a.onnx")
    model = onnx.load(path)
    weights = {one.name: one.raw_data for one in model.graph.initializer}
    onnx.save(model, path, save_as_external_data=True, location="a.data", size_threshold=0)
    assert (tmp_path / "a.data").is_file()
    found = {one.name: one.raw_data for one in read_given(path).model.graph.initializer}
    assert found == weights


def two_inputs(model: onnx.ModelProto) -> None:
    model.graph.input.append(helper.make_tensor_value_info("age", TensorProto.FLOAT, [1]))


def two_outputs(model: onnx.ModelProto) -> None:
    model.graph.output.append(helper.make_tensor_value_info("gap", TensorProto.FLOAT, [None, 6, 1, 1]))


def labels_out(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("ArgMax", ["logits"], ["label"], axis=1))
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("label", TensorProto.INT64, [None, 1]))


def of_others(model: onnx.ModelProto) -> None:
    model.graph.node[0].domain = "acme.ops"
    model.opset_import.append(helper.make_opsetid("acme.ops", 1))


def outside(model: onnx.ModelProto) -> None:
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../secret")


def table_in(model: onnx.ModelProto) -> None:
    model.graph.input[0].CopyFrom(helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 12]))


def free_size(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[3].dim_param = "width"


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        (two_inputs, UsageError, r"has 2 inputs \(x, age\)"),
        (two_outputs, UsageError, r"has 2 outputs \(logits, gap\)"),
        (labels_out, UsageError, "output 'label' .* is int64.*export the logits"),
        (of_others, UsageError, "no runtime here knows: acme.ops.Conv"),
        (outside, ArtifactError, "'k' in '../secret'"),
        (table_in, UsageError, r"input 'x' .* is \? x 12"),
        (free_size, UsageError, r"is \? x 1 x 16 x \?, so the size of its images is free"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_other_networks_are_refused_by_name(
    tmp_path: Path, change: Callable[[onnx.ModelProto], object], error: type[LorkitError], text: str
) -> None:
    (tmp_path / "secret").write_bytes(b"0" * 999)
    (tmp_path / "in").mkdir()
    with pytest.raises(error, match=text):
        read_given(changed(tmp_path / "in" / "a.onnx", change))


@pytest.mark.parametrize("content", [b"", b"no graph", b"\x08\x08\x12\xff\xff\xff\xff\x0f"])
def test_damage_is_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.onnx"
    path.write_bytes(content)
    with pytest.raises(LorkitError, match=r"a\.onnx"):
        read_given(path)
    with pytest.raises(MissingDataError, match="no file"):
        read_given(tmp_path / "b.onnx")
