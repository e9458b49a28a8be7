"""Graphs of lower precision: what they hold, what they answer, and which layers are taken back to fp32."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from lorkit.decompose.artifacts.arrays import Float32Array
from lorkit.decompose.documents.export import CalibrationSet, WeightCount
from lorkit.decompose.errors import DataError, ParityError
from lorkit.decompose.events import Event, Listener, Working, ignore
from lorkit.decompose.models.deployable import Deployable
from lorkit.export.onnx.conversion import to_onnx
from lorkit.export.onnx.cpu_runner import inferrer
from lorkit.export.onnx.precision import Lowered, convert_precision, int8, lowering, require_precision
from lorkit.export.onnx.precision.lowering import by_sensitivity, region_layers
from lorkit.export.runtime import parity
from lorkit.export.runtime.comparison_rules import Rule
from lorkit.export.runtime.reference_images import ReferenceImages, seeded_inputs

IMAGES = seeded_inputs((1, 16, 16), 24)


def network(scale: float = 1.0) -> Deployable:
    """Three convolutions whose second one gives values `scale` times larger, which the third takes back."""
    torch.manual_seed(0)
    body = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(),
        nn.Conv2d(8, 16, 3, stride=2, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 3),
    )  # fmt: skip
    with torch.no_grad():
        body[2].weight.mul_(scale)
        body[2].bias.mul_(scale)
        body[4].weight.div_(scale)
        body[8].weight.mul_(40)  # logits far enough apart that a label is no toss-up
    return Deployable(body, mean=[0.5], std=[0.25]).eval()


_TRACED: dict[float, bytes] = {}  # by the scale: tracing costs a second, and most tests take the same network


def graph_of(module: Deployable, path: Path) -> onnx.ModelProto:
    scale = float(module.network[2].weight.detach().abs().sum())  # type: ignore[index]
    if scale not in _TRACED:
        to_onnx(module, path, channels=1, size=(16, 16), metadata={})
        _TRACED[scale] = path.read_bytes()
    path.write_bytes(_TRACED[scale])
    return onnx.load(path)


def answers(module: nn.Module) -> Float32Array:
    with torch.inference_mode():
        logits: Float32Array = module(torch.from_numpy(IMAGES)).numpy()
    return logits


def lowered(
    module: Deployable,
    path: Path,
    precision: str,
    scheme: str = "asymmetric",
    kind: str = "real",
    on_event: Listener = ignore,
) -> Lowered:
    return convert_precision(
        graph_of(module, path),
        precision,
        scheme=scheme,
        calibration=ReferenceImages(images=IMAGES, kind=kind),
        reference={"logits": answers(module)},
        rules={"logits": Rule()},
        on_event=on_event,
    )


def run(model: onnx.ModelProto, images: Float32Array) -> Float32Array:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    logits: Float32Array = session.run(None, {"image": images})[0]
    return logits


def types(model: onnx.ModelProto) -> Counter[int]:
    return Counter(tensor.data_type for tensor in model.graph.initializer)


@pytest.mark.parametrize(("precision", "share"), [("fp16", 0.005), ("int8", 0.1)])
def test_it_answers_as_its_source_with_any_batch(tmp_path: Path, precision: str, share: float) -> None:
    module = network()
    found, reference = lowered(module, tmp_path / "m.onnx", precision), answers(module)
    onnx.checker.check_model(found.model, full_check=True)
    for batch in (1, 3, 24):
        error = np.abs(run(found.model, IMAGES[:batch]) - reference[:batch]).max()
        assert 0 < error < share * np.abs(reference).max()
    assert found.notes.kept_fp32 == []
    for value in (*found.model.graph.input, *found.model.graph.output):
        assert value.type.tensor_type.elem_type == TensorProto.FLOAT


def test_fp32_is_the_file_as_it_was(tmp_path: Path) -> None:
    module = network()
    assert lowered(module, tmp_path / "m.onnx", "fp32").model == onnx.load(tmp_path / "m.onnx")


def test_int8_is_of_the_scheme(tmp_path: Path) -> None:
    unsigned = TensorProto.UINT8
    for scheme, wanted in (("asymmetric", unsigned), ("reduced", unsigned), ("symmetric", TensorProto.INT8)):
        found = lowered(network(), tmp_path / "m.onnx", "int8", scheme)
        tensors = {tensor.name: tensor for tensor in found.model.graph.initializer}
        pairs = [node for node in found.model.graph.node if node.op_type == "QuantizeLinear"]
        assert pairs
        assert {tensors[node.input[2]].data_type for node in pairs} == {wanted}
        zeros = {int(numpy_helper.to_array(tensors[node.input[2]]).item()) for node in pairs}
        assert (zeros == {0}) == (scheme == "symmetric")
        # TensorRT's parser takes no quantised bias
        assert (TensorProto.INT32 in types(found.model)) == (scheme != "symmetric")
        weights = [numpy_helper.to_array(t) for t in tensors.values() if t.data_type == TensorProto.INT8 and t.dims]
        assert max(np.abs(one.astype(int)).max() for one in weights if one.size > 8) == (
            64 if scheme == "reduced" else 127
        )
        assert found.notes.calibration == CalibrationSet(part="train", n=24, inputs="real")


def test_ranges_are_those_of_all_calibration_images_and_not_of_the_few_it_is_tried_on(tmp_path: Path) -> None:
    """The brightest images come last, beyond those that the graph is tried on."""
    module = network()
    graph = graph_of(module, tmp_path / "m.onnx")
    images = np.concatenate([0.5 * IMAGES[:8], IMAGES[8:]])
    with torch.inference_mode():
        reference = module(torch.from_numpy(images[:8])).numpy()
    calibration = ReferenceImages(images=images, kind="real")
    found = convert_precision(
        graph,
        "int8",
        scheme="asymmetric",
        calibration=calibration,
        reference={"logits": reference},
        rules={"logits": Rule()},
    )
    whole = int8.quantise(graph, {"image": images}, "asymmetric")
    assert found.model.SerializeToString() == whole.SerializeToString()
    assert whole.SerializeToString() != int8.quantise(graph, {"image": images[:8]}, "asymmetric").SerializeToString()


def test_equal_inputs_give_equal_bytes(tmp_path: Path) -> None:
    files = [lowered(network(), tmp_path / "m.onnx", "int8").model.SerializeToString() for _ in range(2)]
    assert files[0] == files[1]


def test_bf16_holds_the_float32_weights_rounded_once(tmp_path: Path) -> None:
    module = network(1e6)  # beyond fp16: a file made from fp16 weights would have lost them
    original = {t.name: numpy_helper.to_array(t) for t in graph_of(module, tmp_path / "m.onnx").graph.initializer}
    found = lowered(module, tmp_path / "m.onnx", "bf16").model
    onnx.checker.check_model(found, full_check=True)
    stored = [tensor for tensor in found.graph.initializer if tensor.data_type == TensorProto.BFLOAT16]
    assert TensorProto.FLOAT16 not in types(found)
    assert len(stored) >= 8
    for tensor in stored:
        wanted = torch.from_numpy(original[tensor.name].copy()).bfloat16().float().numpy()
        np.testing.assert_array_equal(numpy_helper.to_array(tensor).astype(np.float32), wanted)
    casts = [attribute.i for node in found.graph.node if node.op_type == "Cast" for attribute in node.attribute]
    assert set(casts) <= {TensorProto.BFLOAT16, TensorProto.FLOAT}


def test_layers_that_overflow_fp16_stay_in_fp32(tmp_path: Path) -> None:
    module = network(1e6)
    found, reference = lowered(module, tmp_path / "m.onnx", "fp16"), answers(module)
    assert found.notes.kept_fp32
    np.testing.assert_allclose(run(found.model, IMAGES), reference, atol=0.005 * np.abs(reference).max())
    assert TensorProto.FLOAT16 in types(found.model)


def test_the_layer_that_int8_hurts_most_stays_in_fp32(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = network()
    free = lowered(module, tmp_path / "m.onnx", "int8")
    reference = answers(module)
    error = np.abs(run(free.model, IMAGES) - reference).max()
    monkeypatch.setitem(parity.TOLERANCES, "int8", 0.9 * error / np.abs(reference).max())
    found = lowered(module, tmp_path / "m.onnx", "int8")
    assert np.abs(run(found.model, IMAGES) - reference).max() <= 0.9 * error
    (worst, *_) = found.notes.sensitive_layers
    assert found.notes.kept_fp32[0] == worst.layer
    errors = [row.layer_error for row in found.notes.sensitive_layers]
    assert errors == sorted(errors, reverse=True)
    assert sum(node.op_type == "QuantizeLinear" for node in found.model.graph.node) > 0


def test_the_search_says_how_far_it_is_and_runs_the_images_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs, read = [], int8._CalibrationBatches.get_next
    told: list[Event] = []
    monkeypatch.setattr(int8._CalibrationBatches, "get_next", lambda self: runs.append(self) or read(self))  # type: ignore[func-returns-value]
    monkeypatch.setitem(parity.TOLERANCES, "int8", 1e-9)
    with pytest.raises(ParityError):
        lowered(network(), tmp_path / "m.onnx", "int8", on_event=told.append)
    steps = [event for event in told if isinstance(event, Working)]
    assert [(step.done, step.total) for step in steps] == [(done, 4) for done in range(5)]
    assert {step.text.partition(" is off")[0] for step in steps} == {"int8 alone"}
    assert len(set(runs)) == 1


def test_what_nothing_helps_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(parity.TOLERANCES, "int8", 1e-9)
    with pytest.raises(ParityError, match=r"int8 differs by .* with 2 of 4 layers in fp32"):
        lowered(network(), tmp_path / "m.onnx", "int8")


def test_a_retry_that_a_few_images_refuse_does_not_run_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared, measure = list[int](), lowering.measure_outputs

    def counted(infer: Any, inputs: Any, *rest: Any, **settings: Any) -> Any:
        compared.append(len(inputs["image"]))
        return measure(infer, inputs, *rest, **settings)

    monkeypatch.setattr(lowering, "measure_outputs", counted)
    monkeypatch.setitem(parity.TOLERANCES, "int8", 1e-9)
    with pytest.raises(ParityError):
        lowered(network(), tmp_path / "m.onnx", "int8")
    assert compared == [24, *[4] * 4, *[4] * 2]  # all layers, each of four, and with one and two of them in fp32


def test_int8_is_never_calibrated_on_patterns(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no input of the region to calibrate on"):
        lowered(network(), tmp_path / "m.onnx", "int8", kind="seeded")


@pytest.mark.parametrize(
    ("dtype", "precision", "fits"),
    [("float16", "fp16", True), ("float32", "fp16", False), ("float32", "int8", False), ("float32", "fp32", True)],
)
def test_a_file_of_another_precision_than_it_states_is_refused(dtype: str, precision: str, fits: bool) -> None:
    census = {dtype: WeightCount(tensors=1, elements=60), "bfloat16": WeightCount(tensors=1, elements=40)}
    check: Callable[[], None] = lambda: require_precision(census, precision)  # noqa: E731
    if fits:
        check()
        return
    with pytest.raises(ParityError, match="of the weights are"):
        check()


def test_one_two_and_four_layers_are_kept_beside_those_that_overflow_each_once() -> None:
    tried: list[list[str]] = []
    first: Any = SimpleNamespace(passed=False, error=1.0, tolerance=0.5)

    def trial(candidate: Any, limit: float) -> Any:
        assert limit == 0.5
        return SimpleNamespace(passed=len(tried) == 3)

    def build(excluding: Any) -> Any:
        return tried.append(list(excluding))

    _, kept = lowering._retry_excluding_layers(build, trial, ["b", "x"], list("abcdefgh"), first, "fp16")
    assert tried == [["b", "x", "a"], ["b", "x", "a"], ["b", "x", "a", "c", "d"]]
    assert kept == tried[-1]


def test_worst_first_and_layers_only() -> None:
    kinds = {"a": "Conv", "b": "Relu", "c": "Gemm", "d": "MatMul", "e": "ConvTranspose"}
    nodes = [helper.make_node(kind, ["x"], [name], name=name) for name, kind in kinds.items()]
    errors = {"a": 0.1, "c": 3.0, "d": float("inf"), "e": 0.2}

    def alone(name: str) -> Any:
        return SimpleNamespace(error=errors[name])

    told: list[Event] = []
    graph = helper.make_model(helper.make_graph(nodes, "g", [], []))
    ranked = by_sensitivity(graph, alone, "trying", told.append)
    assert told == [Working("trying", done, 4) for done in range(5)]
    assert ranked == [("d", float("inf")), ("c", 3.0), ("e", 0.2), ("a", 0.1)]


class Far(nn.Module):
    """A router whose confidence is a squared distance of thousands, of features of one convolution."""

    input_names = ("image",)
    output_names = ("logits_chest", "region_probabilities", "confidence", "gates")

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.head = nn.Conv2d(1, 8, 3), nn.Linear(8, 2)
        self.centre, self.limit, self.spread = nn.Buffer(torch.zeros(8)), 0.0, 1.0

    def distance(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        features = torch.relu(self.conv(image)).mean((2, 3))
        return features, ((features - self.centre) * 300).square().sum(1)

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        features, distance = self.distance(image)
        shares = self.head(features).softmax(1)
        return self.head(features), shares, torch.sigmoid((self.limit - distance) / self.spread), shares[:, None]


@pytest.mark.parametrize("precision", ["int8", "fp16"])
def test_the_confidence_of_a_router_stays_in_fp32(precision: str, tmp_path: Path) -> None:
    """In eight bits every image would be of no region."""
    module = Far().eval()
    with torch.no_grad():
        module.centre.copy_(module.distance(torch.from_numpy(IMAGES))[0].mean(0))
        distance = module.distance(torch.from_numpy(IMAGES))[1]
        module.limit, module.spread = float(distance.max()), float(distance.std())
        wanted = dict(zip(Far.output_names, (one.numpy() for one in module(torch.from_numpy(IMAGES))), strict=True))
    assert 0.49 < wanted["confidence"].min() < wanted["confidence"].max() < 0.999
    to_onnx(module, tmp_path / "m.onnx", channels=1, size=(16, 16), metadata={})
    model = onnx.load(tmp_path / "m.onnx")
    kept = region_layers(model)
    kinds = {node.name: node.op_type for node in model.graph.node}
    assert "Conv" not in {kinds[name] for name in kept}
    assert {"Sigmoid", "Softmax"} <= {kinds[name] for name in kept}
    rules = {name: Rule(decides=False) for name in Far.output_names}
    found = convert_precision(
        model, precision, scheme="asymmetric", calibration=ReferenceImages(images=IMAGES, kind="real"),
        reference=wanted, rules=rules,
    )  # fmt: skip
    assert found.notes is not None
    assert set(kept) <= set(found.notes.kept_fp32)
    outputs = inferrer(found.model)({"image": IMAGES})
    assert np.abs(outputs["confidence"] - wanted["confidence"]).max() < 0.1
    assert any(node.op_type == "Conv" and node.name not in found.notes.kept_fp32 for node in model.graph.node)
