"""Networks of other tools in the form of this project, against the file itself and numpy in float64."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
import torch
from given_networks import CLASSES, MEAN, SIZE, STD, write_given
from onnx import numpy_helper

from lorkit.decompose.config import ImageConfig, RegionConfig
from lorkit.decompose.data.preprocessing.recipe import build_recipe
from lorkit.decompose.errors import DataError, UsageError
from lorkit.decompose.regions import Region
from lorkit.export.onnx.cpu_runner import inferrer
from lorkit.export.onnx.given.form import GivenForm
from lorkit.export.onnx.given.network import GivenNetwork, cost_of
from lorkit.export.onnx.given.reading import read_given


def form_of(*, dense: bool = False, last: bool = False, probabilities: bool = False, **region: Any) -> GivenForm:
    kind = {"task": "segmentation", "classes": ("spot",)} if dense else {"classes": tuple(CLASSES)}
    image = ImageConfig(size=(SIZE, SIZE), channels=1, mean=(MEAN,), std=(STD,))
    recipe = build_recipe(image, RegionConfig(data=("x.npz",)))
    return GivenForm(
        region=Region(name="spots", **{**kind, **region}),
        recipe=recipe,
        channels_last=last,
        probabilities=probabilities,
    )


def images(count: int = 5) -> np.ndarray[Any, Any]:
    return np.random.default_rng(3).random((count, 1, SIZE, SIZE)).astype(np.float32)


def by_hand(path: Path, image_NCHW: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return the logits of `write_given`'s classifier in float64, with numpy."""
    stored = {one.name: numpy_helper.to_array(one).astype(np.float64) for one in onnx.load(path).graph.initializer}
    x = np.pad((image_NCHW[:, 0].astype(np.float64) - MEAN) / STD, ((0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(1, 2))
    maps = np.maximum(np.einsum("nhwij,cij->nchw", windows, stored["k"][:, 0]), 0)
    if stored["w"].ndim == 4:
        return np.einsum("nchw,kc->nkhw", maps, stored["w"][:, :, 0, 0])
    return maps.mean(axis=(2, 3)) @ stored["w"].T


@pytest.mark.parametrize(
    ("given", "form"),
    [
        ({}, {}),
        ({"last": True}, {"last": True}),
        ({"batch": 1}, {}),
        ({"batch": 2}, {}),
        ({"batch": 1, "frozen": "reshape"}, {}),
        ({"opset": 11}, {}),
        ({"opset": 11, "end": "Softmax"}, {"probabilities": True}),
        ({"end": "Softmax"}, {"probabilities": True}),
        ({"outputs": 1, "end": "Sigmoid"}, {"probabilities": True}),
        ({"outputs": 1}, {}),
        ({"dense": True}, {"dense": True}),
        ({"dense": True, "last": True, "end": "Softmax"}, {"dense": True, "last": True, "probabilities": True}),
        ({"dense": True, "outputs": 1, "end": "Sigmoid"}, {"dense": True, "probabilities": True}),
        ({"half": True}, {}),
    ],
    ids=str,
)
def test_both_forms_give_the_logits_of_the_file(tmp_path: Path, given: dict[str, Any], form: dict[str, Any]) -> None:
    path = write_given(tmp_path / "a.onnx", **given)
    network = GivenNetwork(read_given(path), form_of(**form))
    taken = images()
    wanted = by_hand(path, taken)
    wanted = np.concatenate([0 * wanted, wanted], axis=1) if given.get("outputs") == 1 else wanted
    found = network(torch.from_numpy(taken)).numpy()
    np.testing.assert_allclose(found, wanted, atol=1e-4)
    graph = ir.to_proto(network.canonical())
    np.testing.assert_allclose(inferrer(graph)({"image": taken})["logits"], wanted, atol=1e-4)
    onnx.checker.check_model(graph, full_check=True)
    assert all(one.data_type != onnx.TensorProto.FLOAT16 for one in graph.graph.initializer)
    names = [node.name for node in graph.graph.node]
    assert all(names)
    assert len(set(names)) == len(names)


def test_a_half_network_differs_from_its_float32_by_rounding_alone(tmp_path: Path) -> None:
    path = write_given(tmp_path / "a.onnx", half=True)
    taken = images()
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (as_given,) = session.run(None, {"x": ((taken - MEAN) / STD).astype(np.float16)})
    found = GivenNetwork(read_given(path), form_of())(torch.from_numpy(taken)).numpy()
    np.testing.assert_allclose(found, as_given, atol=2e-2)


@pytest.mark.parametrize(
    ("given", "form", "text"),
    [
        ({"end": "Softmax"}, {}, "ends in Softmax.*state output: probabilities"),
        ({}, {"probabilities": True}, "does not end in Softmax or Sigmoid"),
        ({"end": "Sigmoid"}, {"probabilities": True}, "no softmax over the classes"),
        ({}, {"classes": ("a", "b", "c")}, "returns 2 for an image.*required: 3"),
        ({}, {"dense": True}, "returns 2 for an image.*required: 2 x 16 x 16"),
        ({"last": True}, {}, "takes 16 x 16 x 1, the recipe states 1 x 16 x 16"),
        ({"batch": 1, "frozen": "add"}, {}, "its batch is free.*fixes it at 1"),
    ],
    ids=str,
)
def test_what_does_not_fit_its_recipe_is_refused(
    tmp_path: Path, given: dict[str, Any], form: dict[str, Any], text: str
) -> None:
    file = read_given(write_given(tmp_path / "a.onnx", **given))
    with pytest.raises(UsageError, match=text):
        GivenNetwork(file, form_of(**form)).canonical()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_network_of_values_that_are_not_finite_is_damaged_data(tmp_path: Path, value: float) -> None:
    model = onnx.load(write_given(tmp_path / "a.onnx"))
    (weights,) = (one for one in model.graph.initializer if one.name == "w")
    weights.CopyFrom(numpy_helper.from_array(np.full_like(numpy_helper.to_array(weights), value), "w"))
    onnx.save(model, tmp_path / "a.onnx")
    with pytest.raises(DataError, match=r"a\.onnx returns values that are not finite"):
        GivenNetwork(read_given(tmp_path / "a.onnx"), form_of())


def test_weights_are_counted_without_the_normalisation(tmp_path: Path) -> None:
    network = GivenNetwork(read_given(write_given(tmp_path / "a.onnx")), form_of())
    assert cost_of(network.canonical()) == (6 * 9 + 2 * 6, 6 * 9 * SIZE**2 + 2 * 6)
