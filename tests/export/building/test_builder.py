"""Exports of lower precision from a real run: what they state, and where they are refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch

from lorkit.decompose.artifacts import read_json
from lorkit.decompose.errors import ArtifactError, DataError, ParityError
from lorkit.decompose.runs import open_run
from lorkit.decompose.runs.locked_data import RunSplits
from lorkit.export.building import builder
from lorkit.export.building.exporting import export
from lorkit.export.building.verification import verify
from lorkit.export.onnx import conversion
from lorkit.export.onnx.precision import Lowered
from lorkit.export.runtime import parity
from lorkit.export.runtime.reference_images import ReferenceImages

OPTIONS = {"region": "chest", "profile": "cpu-generic", "owners": ("expert",), "precision": "int8"}


def constant(model: ir.Model, name: str, value: np.ndarray) -> ir.Value:
    model.graph.initializers[name] = found = ir.Value(name=name, const_value=ir.tensor(value, name=name))
    return found


def test_int8_is_proven_states_how_it_came_about_and_is_verified(extracted: Path, tmp_path: Path) -> None:
    run = shutil.copytree(extracted, tmp_path / "run")
    (result,) = export(run, **OPTIONS).exports  # type: ignore[arg-type]
    assert result.path.name == "onnx-cpu-generic-int8"
    info = read_json(result.path / "export.json", kind="export")
    assert info["precision"] == info["graph_precision"] == "int8"
    assert info["lowering"]["scheme"] == "reduced"  # cpu-generic promises no VNNI
    assert info["lowering"]["calibration"]["part"] == "train"
    assert info["lowering"]["calibration"]["inputs"] == "real"
    assert 1 < info["lowering"]["calibration"]["n"] <= 64
    assert info["dtype_census"]["int8"]["elements"] > info["dtype_census"]["float32"]["elements"]
    assert 0 < info["parity"]["max_abs"] <= info["parity"]["tolerance"]
    properties = {entry.key: entry.value for entry in onnx.load(result.path / "model.onnx").metadata_props}
    assert properties["lorkit.precision"] == "int8"
    assert properties["lorkit.classes"]
    (found,) = verify(result.path).to_json()["exports"]
    assert (found["status"], found["inputs"]) == ("passed", "real")
    assert [again.up_to_date for again in export(run, **OPTIONS).exports] == [True]  # type: ignore[arg-type]


def test_int8_is_calibrated_on_images_of_the_training_part_alone(
    extracted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = shutil.copytree(extracted, tmp_path / "run")
    seen: list[ReferenceImages] = []

    def stopped(model: object, precision: str, *, calibration: ReferenceImages, **_: object) -> Lowered:
        seen.append(calibration)
        raise ParityError("enough was seen", required="", fix="")

    monkeypatch.setattr(builder, "convert_precision", stopped)
    with pytest.raises(ParityError, match="enough was seen"):
        export(run, **OPTIONS)  # type: ignore[arg-type]
    training = RunSplits(open_run(run)).part("chest", "train")
    known = {image.tobytes() for image in np.ascontiguousarray(training.images)}
    assert {image.tobytes() for image in np.ascontiguousarray(seen[0].images)} <= known
    assert len(seen[0].images) == min(128, len(known))


def test_an_expert_away_from_its_run_has_nothing_to_calibrate_on(extracted: Path, tmp_path: Path) -> None:
    expert = shutil.copytree(extracted / "experts" / "chest", tmp_path / "elsewhere")
    with pytest.raises(DataError, match="no input of the region to calibrate on"):
        export(expert, **OPTIONS)  # type: ignore[arg-type]
    assert not (expert / "exports").exists() or not any((expert / "exports").iterdir())


def test_a_precision_that_was_dropped_on_the_way_is_no_export(
    extracted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = shutil.copytree(extracted, tmp_path / "run")
    monkeypatch.setattr(builder, "convert_precision", lambda model, precision, **_: Lowered(model=model, notes={}))
    with pytest.raises(ParityError, match=r"0% of the weights are int8; required: at least 50%"):
        export(run, **OPTIONS)  # type: ignore[arg-type]


def test_flipped_labels_are_no_export_even_where_the_error_is_small(
    extracted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = shutil.copytree(extracted, tmp_path / "run")
    monkeypatch.setitem(parity.TOLERANCES, "fp32", 1e9)
    monkeypatch.setitem(parity.FLIP_RATES, "fp32", 0.05)
    real = builder.to_onnx

    def upside_down(network: object, path: Path, **options: object) -> object:
        found = real(network, path, **options)  # type: ignore[arg-type]
        model = onnx.load(path)
        last = model.graph.node[-1]
        inner = last.output[0] + "_before"
        last.output[0] = inner
        model.graph.node.append(onnx.helper.make_node("Neg", [inner], ["logits"]))
        onnx.save(model, path)
        return found

    monkeypatch.setattr(builder, "to_onnx", upside_down)
    with pytest.raises(ParityError, match=r"changed labels?.*of all decisions changed"):
        export(run, force=True, **OPTIONS | {"precision": "fp32"})  # type: ignore[arg-type]


@pytest.mark.usefixtures("traced_anew")
@pytest.mark.parametrize("refused", [True, False])
@pytest.mark.parametrize("target", ["onnx", "openvino"])
def test_a_graph_of_one_batch_size_is_no_export_and_the_network_is_named_as_the_reason(
    extracted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str, refused: bool
) -> None:
    """A number of images that became a constant: the runtime refuses other batches, or gives other values for them."""
    run = shutil.copytree(extracted, tmp_path / "run")
    translate = conversion._translate

    def frozen(program: torch.export.ExportedProgram, *names: tuple[str, ...]) -> ir.Model:
        model = translate(program, *names).clone()
        value = model.graph.outputs[-1]
        if refused:
            inputs = [value, constant(model, "size", np.array([2, 2], np.int64))]
            nodes = [ir.node("Reshape", inputs)]
        else:  # times the number of images, divided by that of the trace
            axes = constant(model, "axes", np.array([0], np.int64))
            one, two = (constant(model, f"number_{count}", np.array(count, np.float32)) for count in (1, 2))
            zeros = ir.node("Sub", [value, value])
            ones = ir.node("Add", [zeros.outputs[0], one])
            count = ir.node("ReduceSum", [ones.outputs[0], axes], {"keepdims": 1})
            share = ir.node("Div", [count.outputs[0], two])
            nodes = [zeros, ones, count, share, ir.node("Mul", [value, share.outputs[0]])]
        model.graph.insert_after(value.producer(), nodes)
        last = nodes[-1].outputs[0]
        last.name, value.name = value.name, "before"
        last.shape, last.dtype = value.shape, value.dtype
        model.graph.outputs[-1] = last
        return model

    monkeypatch.setattr(conversion, "_translate", frozen)
    options = OPTIONS | {"precision": "fp32", "target": target, "force": True}
    says = r"free batch size|differs from its source|gives other values"
    with pytest.raises((ArtifactError, ParityError), match=says):
        export(run, **options)  # type: ignore[arg-type]
    assert not [path for path in (run / "exports").rglob("*") if path.is_file()]
