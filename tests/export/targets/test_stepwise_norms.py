"""Norms of OpenVINO against float64, and which of them are replaced."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lorkit.export.targets.openvino import import_openvino
from lorkit.export.targets.stepwise_norms import SMALLEST, split_norms


def model_of(shape: tuple[int, ...], axes: tuple[int, ...], mode: str = "inside_sqrt", scale: bool = True) -> Any:
    ops = import_openvino().opset13
    x = ops.parameter([-1, *shape[1:]], np.float32)
    norm = ops.mvn(x, ops.constant(list(axes), dtype="int64"), scale, 1e-3, mode)
    return import_openvino().Model([ops.multiply(norm, ops.constant(np.float32(2)))], [x])


def run(model: Any, x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    options = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    return np.asarray(import_openvino().Core().compile_model(model, "CPU", options)([x])[0])


def expected(x: np.ndarray[Any, Any], axes: tuple[int, ...], mode: str) -> np.ndarray[Any, Any]:
    wide = x.astype(np.float64)
    centred, variance = wide - wide.mean(axes, keepdims=True), wide.var(axes, keepdims=True)
    return 2 * centred / (np.sqrt(variance + 1e-3) if mode == "inside_sqrt" else np.sqrt(variance) + 1e-3)


@pytest.mark.parametrize("mode", ["inside_sqrt", "outside_sqrt"])
@pytest.mark.parametrize(
    ("shape", "axes"),
    [((2, 3, 48, 40, 56), (2, 3, 4)), ((2, 3, 48, 40, 56), (-3, -1, -2)), ((2, 3, 48 * 40 * 56), (2,))],
)
def test_a_norm_of_a_large_map_is_near_its_value_in_float64(
    shape: tuple[int, ...], axes: tuple[int, ...], mode: str
) -> None:
    x = np.random.default_rng(0).normal(0.5, 0.3, shape).astype(np.float32)
    ours, theirs = model_of(shape, axes, mode), model_of(shape, axes, mode)
    assert split_norms(ours, import_openvino()) == 1
    errors = [float(np.abs(run(model, x) - expected(x, axes, mode)).max()) for model in (ours, theirs)]
    assert errors[0] < 4e-6
    assert errors[0] < errors[1]


@pytest.mark.parametrize(
    ("shape", "axes", "scale"),
    [((1, 2, 8, 8, 8), (2, 3, 4), True), ((1, 2, 40_009), (2,), True), ((1, 2, 48, 48, 48), (2, 3, 4), False)],
)
def test_other_norms_stay(shape: tuple[int, ...], axes: tuple[int, ...], scale: bool) -> None:
    """Small maps, a prime number of values, and means without a variance."""
    model = model_of(shape, axes, scale=scale)
    assert split_norms(model, import_openvino()) == 0
    assert [node.get_type_name() for node in model.get_ops()].count("MVN") == 1


def test_the_smallest_map_is_replaced_and_sizes_that_are_free_are_not() -> None:
    ops = import_openvino().opset13
    side = round(SMALLEST ** (1 / 3))
    assert split_norms(model_of((1, 1, side, side, side), (2, 3, 4)), import_openvino()) == 1
    x = ops.parameter([-1, 2, -1, 64, 64], np.float32)
    norm = ops.mvn(x, ops.constant([2, 3, 4], dtype="int64"), True, 1e-3, "inside_sqrt")
    assert split_norms(import_openvino().Model([norm], [x]), import_openvino()) == 0
