"""int8 graphs of a convolution that is written by hand: their scheme, and ranges that were kept."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from lorkit.decompose.artifacts.arrays import Float32Array
from lorkit.export.onnx.cpu_runner import inferrer
from lorkit.export.onnx.precision import int8

IMAGES = np.random.default_rng(0).random((8, 1, 6, 6), dtype=np.float32)
GIVEN = {"image": IMAGES}


@pytest.fixture
def graph() -> onnx.ModelProto:
    kernel = np.random.default_rng(1).normal(size=(4, 1, 3, 3)).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["image", "kernel"], ["maps"], "conv"),
        helper.make_node("Flatten", ["maps"], ["logits"], "flat"),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 1, 6, 6])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 64])
    whole = helper.make_graph(nodes, "g", [image], [logits], [numpy_helper.from_array(kernel, "kernel")])
    return helper.make_model(whole, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


@pytest.fixture(scope="module")
def residual() -> onnx.ModelProto:
    """Three convolutions with ReLUs, the last two of them around a sum, and a linear layer on the maps."""
    generator = np.random.default_rng(4)
    shapes = {"a": (4, 1, 3, 3), "b": (4, 4, 3, 3), "c": (4, 4, 3, 3), "d": (144, 3), "e": (3,), "f": (4,)}
    weights = {name: generator.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    pads = {"pads": [1, 1, 1, 1]}
    nodes = [
        helper.make_node("Conv", ["image", "a", "f"], ["first_maps"], "first", **pads),
        helper.make_node("Relu", ["first_maps"], ["first_positive"], "first_relu"),
        helper.make_node("Conv", ["first_positive", "b"], ["second_maps"], "second", **pads),
        helper.make_node("Relu", ["second_maps"], ["second_positive"], "second_relu"),
        helper.make_node("Conv", ["second_positive", "c"], ["third_maps"], "third", **pads),
        helper.make_node("Add", ["third_maps", "first_positive"], ["sum"], "add"),
        helper.make_node("Relu", ["sum"], ["positive"], "relu"),
        helper.make_node("Flatten", ["positive"], ["flat"], "flatten"),
        helper.make_node("Gemm", ["flat", "d", "e"], ["logits"], "head"),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 1, 6, 6])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 3])
    stored = [numpy_helper.from_array(values, name) for name, values in weights.items()]
    whole = helper.make_graph(nodes, "g", [image], [logits], stored)
    return helper.make_model(whole, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


@pytest.mark.parametrize("scheme", ["asymmetric", "reduced", "symmetric"])
@pytest.mark.parametrize(
    "names",
    [
        ("first",),
        ("second",),
        ("head",),
        ("first", "second"),
        ("second", "third"),
        ("first", "second", "third", "head"),
    ],
)
def test_restored_layers_answer_as_a_graph_that_never_had_them_in_int8(
    residual: onnx.ModelProto, scheme: str, names: tuple[str, ...]
) -> None:
    whole = int8.quantise(residual, GIVEN, scheme)
    before = whole.SerializeToString()
    found = int8.restore_layers(whole, residual, names)
    onnx.checker.check_model(found, full_check=True)
    assert whole.SerializeToString() == before
    wanted = int8.quantise(residual, GIVEN, scheme, excluding=names)
    logits = _logits(wanted, IMAGES)
    np.testing.assert_allclose(_logits(found, IMAGES), logits, atol=1e-5 * np.abs(logits).max())
    kernels = {node.input[1] for node in found.graph.node if node.name in names}
    stored = {one.name: one for one in found.graph.initializer}
    assert {stored[name].data_type for name in kernels} == {TensorProto.FLOAT}
    taken = {name for node in found.graph.node for name in node.input}
    assert set(stored) <= taken


def test_only_operator_sets_that_are_used_are_imported(graph: onnx.ModelProto) -> None:
    """A runtime need not know the others."""
    graph.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    found = int8.quantise(graph, GIVEN, "symmetric")
    used = {node.domain for node in found.graph.node}
    assert [(entry.domain, entry.version) for entry in found.opset_import] == [("", 20)]
    assert used == {""}
    assert not found.graph.value_info
    assert not found.metadata_props


def test_weights_are_rounded_to_the_scale_of_their_channel(graph: onnx.ModelProto) -> None:
    """Channels a thousand times apart, which one scale for the whole tensor would round to zero."""
    kernel = (
        numpy_helper.to_array(graph.graph.initializer[0])
        * np.array([1000, 1, 0.1, 10], np.float32)[:, None, None, None]
    )
    graph.graph.initializer[0].CopyFrom(numpy_helper.from_array(kernel, "kernel"))
    found = {one.name: numpy_helper.to_array(one) for one in int8.quantise(graph, GIVEN, "symmetric").graph.initializer}
    (stored,) = [value for value in found.values() if value.shape == (4, 1, 3, 3)]
    scale = np.abs(kernel).max((1, 2, 3)) / 127
    (kept,) = [
        value
        for name, value in found.items()
        if name.startswith("kernel") and value.shape == (4,) and value.dtype == np.float32
    ]
    np.testing.assert_allclose(kept, scale, rtol=1e-6)
    assert stored.dtype == np.int8
    error = np.abs(stored * scale[:, None, None, None] - kernel).max((1, 2, 3))
    assert (error <= scale / 2 * (1 + 1e-5)).all()


def _logits(model: onnx.ModelProto, images: Float32Array) -> Float32Array:
    return inferrer(model)({"image": images})["logits"]


@pytest.mark.parametrize("scheme", ["asymmetric", "reduced", "symmetric"])
def test_logits_beyond_those_of_calibration_are_not_cut_off(graph: onnx.ModelProto, scheme: str) -> None:
    """The pattern of a kernel, with the values that flat images had, gives larger logits than those."""
    kernel = numpy_helper.to_array(graph.graph.initializer[0])
    kernel = kernel - 0.5 * kernel.mean((2, 3), keepdims=True)
    graph.graph.initializer[0].CopyFrom(numpy_helper.from_array(kernel, "kernel"))
    flat = np.ones((2, 1, 6, 6), np.float32) * np.array([0.2, 1.0], np.float32)[:, None, None, None]
    pattern = np.zeros((1, 1, 6, 6), np.float32)
    pattern[..., 2:5, 2:5] = kernel[0] > 0
    found = int8.quantise(graph, {"image": flat}, scheme)
    wanted, got = _logits(graph, pattern), _logits(found, pattern)
    assert wanted.max() > 1.5 * _logits(graph, flat).max()
    np.testing.assert_allclose(got, wanted, atol=0.02 * wanted.max())
    assert [value.name for value in found.graph.output] == ["logits"]


def test_an_output_that_later_layers_take_too_is_not_quantised(graph: onnx.ModelProto) -> None:
    """Its tensor keeps its name, and what nothing takes any more is gone."""
    weights = np.random.default_rng(2).normal(size=(64, 3)).astype(np.float32)
    graph.graph.initializer.append(numpy_helper.from_array(weights, "weights"))
    graph.graph.node.append(helper.make_node("Gemm", ["logits", "weights"], ["gates"], "gemm"))
    graph.graph.output.append(helper.make_tensor_value_info("gates", TensorProto.FLOAT, ["batch", 3]))
    found = int8.quantise(graph, GIVEN, "asymmetric")
    onnx.checker.check_model(found, full_check=True)
    makers = {name: node.op_type for node in found.graph.node for name in node.output}
    assert (makers["logits"], makers["gates"]) == ("Flatten", "Gemm")
    taken = {name for node in found.graph.node for name in node.input}
    assert {one.name for one in found.graph.initializer} <= taken
    wanted, got = (inferrer(one)(GIVEN) for one in (graph, found))
    for name, values in wanted.items():
        np.testing.assert_allclose(got[name], values, atol=0.03 * np.abs(values).max())
