"""Networks of several regions of real runs through every command on exports."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from played_measurements import play_measurements

from lorkit.cli.main import run_command_line
from lorkit.decompose.artifacts import read_json
from lorkit.decompose.documents.heads import MixtureForm
from lorkit.decompose.errors import ArtifactError, ParityError, UsageError
from lorkit.decompose.evaluation.evaluation import evaluate
from lorkit.decompose.events import Event, Working
from lorkit.decompose.runs import open_run
from lorkit.decompose.runs.mixture import load_mixture
from lorkit.export.building import choice as choosing
from lorkit.export.building.exporting import export
from lorkit.export.building.verification import verify
from lorkit.export.gating.gating import gate
from lorkit.export.runtime.exported import read_exported
from lorkit.export.runtime.preference import tried_exports
from lorkit.export.targets import get_target

FORMS: tuple[MixtureForm, ...] = ("router", "region-id")
Copy = Callable[[MixtureForm], Path]


def network_of(run: Path) -> Path:
    """Return the export of the network of several regions in a run of that name."""
    return run / "exports" / run.name / "onnx-cpu-generic-fp32"


@pytest.mark.parametrize("form", FORMS)
def test_a_run_exports_them_with_the_foundation_of_every_region(form: MixtureForm, several_run: Copy) -> None:
    run = several_run(form)
    results = export(run, profile="cpu-generic", owners=("expert", "foundation")).exports
    assert [(one.owner, one.region) for one in results] == [
        ("expert", form), ("foundation", "chest"), ("foundation", "knee")
    ]  # fmt: skip
    assert results[0].path == run / "exports" / form / "onnx-cpu-generic-fp32"
    exported, source = read_exported(results[0].path, chained=True), load_mixture(run / "experts" / form)
    assert exported.info.mixture == source.info.mixture
    assert (exported.info.parameters, exported.info.macs) == (source.info.parameters, source.info.macs)
    parity = exported.info.parity
    assert (parity.status, parity.batches, parity.inputs) == ("passed", [1, 3, 8, 17], "real")
    graph = onnx.load(exported.path / "model.onnx").graph
    assert [value.name for value in graph.input] == list(source.network.input_names)
    assert [value.name for value in graph.output] == list(source.network.output_names)
    (again,) = export(run, region=form, profile="cpu-generic", owners=("expert",)).exports
    assert again.up_to_date


@pytest.mark.parametrize("form", FORMS)
def test_verify_compares_every_output_with_the_extracted_network(
    form: MixtureForm, several_exported: Copy, capsys: pytest.CaptureFixture[str]
) -> None:
    run = several_exported(form)
    path = network_of(run)
    (row,) = verify(path).exports
    assert (row.status, row.against, row.inputs, row.region) == ("passed", "source", "real", form)
    assert list(row.by_output) == list(read_exported(path).info.output_names)
    assert [one.batch for one in row.batches] == [1, 3, 8, 32]
    assert run_command_line(["verify", str(path), "--bisect"]) == 0
    told = capsys.readouterr().out
    for name in row.by_output:
        assert name in told
    assert "no layer differs" in told
    with pytest.raises(UsageError, match="a network of several regions"):
        verify(path, data=run / "config.yaml")
    copy = Path(shutil.copytree(path, run.parents[1] / "elsewhere"))
    (apart,) = verify(copy).exports
    assert (apart.status, apart.against) == ("passed", "samples")


def test_an_engine_whose_heads_were_swapped_is_found(several_exported: Copy, monkeypatch: pytest.MonkeyPatch) -> None:
    path = network_of(several_exported("router"))
    engine = type(get_target("onnx").load(path))
    infer = engine.infer

    def turned(self: object, inputs: object) -> dict[str, np.ndarray]:
        found = infer(self, inputs)  # type: ignore[arg-type]
        return found | {"region_probabilities": np.ascontiguousarray(found["region_probabilities"][:, ::-1])}

    monkeypatch.setattr(engine, "infer", turned)
    with pytest.raises(ParityError, match="differs from its source"):
        verify(path)


def test_a_network_extracted_again_makes_its_export_out_of_date(several_exported: Copy) -> None:
    from lorkit.decompose.extraction.extraction import extract

    run = several_exported("region-id")
    path = network_of(run)
    extract(open_run(run), region_id=True, force=True)
    with pytest.raises(ArtifactError):
        verify(run, region="region-id")
    assert not export(run, region="region-id", profile="cpu-generic", owners=("expert",)).exports[0].up_to_date
    assert path.is_dir()


@pytest.mark.parametrize("form", FORMS)
def test_the_gate_judges_what_a_run_exported(form: MixtureForm, several_exported: Copy) -> None:
    run = several_exported(form)
    document = gate(run, max_seconds=0.2)
    assert list(document.regions) == [form]
    block = document.regions[form]
    assert list(block.head_verdicts) == ["chest", "knee"]
    for name, head in block.head_verdicts.items():
        assert head.accuracy_test.n == len(read_json(run / "splits.json")["regions"][name]["test"])
        assert head.baseline.region == name
    assert block.latency_test.ratio is not None
    assert read_json(run / "measurements" / "gate.json", kind="gate")["regions"][form]["head_verdicts"]


def test_an_extracted_network_is_exported_alone(several_run: Copy, tmp_path: Path) -> None:
    run = several_run("router")
    (inside,) = export(run / "experts" / "router", profile="cpu-generic").exports
    assert inside.path == run / "exports" / "router" / "onnx-cpu-generic-fp32"
    copy = Path(shutil.copytree(run / "experts" / "router", tmp_path / "copied"))
    (alone,) = export(copy, profile="cpu-generic").exports
    assert alone.path == copy / "exports" / "onnx-cpu-generic-fp32"
    about = read_exported(alone.path).info
    assert about.parity.status == "passed"
    assert about.parity.inputs == "seeded"
    assert len(about.warnings) == 2


@pytest.mark.parametrize("target", ["triton", "aoti", "torch-trt", "monai"])
def test_targets_of_one_input_and_output_refuse_them_by_name(target: str, several_run: Copy) -> None:
    run, profile = several_run("router"), "h200" if target == "torch-trt" else None
    with pytest.raises(UsageError) as caught:
        export(run, region="router", target=target, profile=profile)
    assert f"target {target} takes one input and one output, and router has several" in str(caught.value)
    assert "one of onnx, openvino, trt, trt-rtx" in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.raises(UsageError, match="router has several"):
        export(run / "experts" / "router", target=target, profile=profile)


def test_of_all_networks_of_a_run_only_they_are_left_out(several_run: Copy) -> None:
    run = several_run("router")
    told: list[Event] = []
    results = export(run, target="triton", profile="cpu-generic", allow_synthetic=True, on_event=told.append).exports
    assert {one.owner for one in results} == {"foundation"}
    assert any(isinstance(one, Working) and "router has several" in one.text for one in told)


def test_what_was_not_extracted_is_named_with_the_command(
    several_run: Copy, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command_line(["export", str(several_run("router")), "--region", "region-id,knee"]) == 2
    told = capsys.readouterr().err
    assert "no extracted expert for knee, region-id" in told
    assert "run `decompose extract --region knee --region-id` first" in told


def test_tensorrt_rtx_builds_them_without_a_gpu(several_run: Copy) -> None:
    pytest.importorskip("tensorrt_rtx", reason="needs the extra tensorrt-rtx")
    for form in FORMS:
        (result,) = export(several_run(form), region=form, target="trt-rtx", owners=("expert",)).exports
        assert (result.path / "model.engine").read_bytes()[:4] == b"vtrt"
        assert result.parity.status == "not_run"
        assert json.loads((result.path / "export.json").read_text())["mixture"]["form"] == form


def test_evaluating_the_router_evaluates_its_run(several_run: Copy, tmp_path: Path) -> None:
    run = several_run("router")
    found, whole = evaluate(run / "experts" / "router"), evaluate(run)
    assert found.predicted is not None
    assert (found.predicted, found.region_prediction) == (whole.predicted, whole.region_prediction)
    assert found.region_prediction is not None
    assert found.region_prediction.source == "extracted"
    copied = shutil.copytree(run / "experts" / "router", tmp_path / "elsewhere")
    with pytest.raises(UsageError, match="outside of its run"):
        evaluate(copied)


def test_adapters_are_exported_and_verified_for_all_regions_by_region_id(several_run: Copy) -> None:
    run = several_run("region-id")
    (result,) = export(
        run, region="region-id", target="onnx-adapters", profile="cpu-generic", owners=("expert",)
    ).exports
    info = read_exported(result.path).info
    assert (info.parity.status, info.engine_file, info.provider) == ("passed", "base.onnx", "CPUExecutionProvider")
    adapters = [result.path / f"base.{name}.onnx_adapter" for name in ("chest", "knee")]
    sizes = [path.stat().st_size for path in (*adapters, result.path / "base.onnx")]
    assert info.size_bytes == sum(sizes)
    (row,) = verify(result.path).exports
    assert (row.status, row.against) == ("passed", "source")
    with pytest.raises(UsageError, match="by region id, and router is none; required: one of onnx, openvino"):
        export(several_run("router"), region="router", target="onnx-adapters")


CHOICE: dict[str, Any] = {"profile": "cpu-generic", "precision": "auto", "max_seconds": 1.0}


def test_a_network_of_several_regions_is_judged_head_by_head_and_its_foundations_follow(
    several_exported: Copy, monkeypatch: pytest.MonkeyPatch
) -> None:
    play_measurements(monkeypatch, [])
    seen: list[str] = []
    judge: Any = choosing.judge_accuracy
    monkeypatch.setattr(choosing, "judge_accuracy", lambda pair, *a: seen.append(pair.region) or judge(pair, *a))
    run = several_exported("region-id")
    results = export(run, region="region-id", **CHOICE).exports
    assert seen == ["chest", "knee"]
    precisions = [(one.owner, one.region, one.precision) for one in results]
    assert precisions == [
        ("expert", "region-id", "fp32"), ("expert", "region-id", "int8"),
        ("foundation", "chest", "fp32"), ("foundation", "chest", "int8"),
        ("foundation", "knee", "fp32"), ("foundation", "knee", "int8"),
    ]  # fmt: skip
    (tried,) = tried_exports(open_run(run))
    assert (tried.region, tried.verdict) == ("region-id", "kept")
    assert "of region chest, which loses most, it loses little" in tried.reason


def test_one_head_that_loses_too_much_is_enough(several_exported: Copy, monkeypatch: pytest.MonkeyPatch) -> None:
    play_measurements(monkeypatch, [])
    judge: Any = choosing.judge_accuracy

    def one_fails(pair: Any, *others: Any) -> Any:
        found = judge(pair, *others)
        return found.with_changes(verdict="inconclusive") if pair.region == "knee" else found

    monkeypatch.setattr(choosing, "judge_accuracy", one_fails)
    run = several_exported("region-id")
    results = export(run, region="region-id", owners=("expert",), **CHOICE).exports
    assert [one.precision for one in results] == ["fp32"]
    (tried,) = tried_exports(open_run(run))
    assert "within the allowed drop: of region knee" in tried.reason
