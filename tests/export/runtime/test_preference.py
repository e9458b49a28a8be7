"""Which of several exports of a region is taken: predict and gate follow the same order, and say what they left."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sample_documents import choice_conditions

from lorkit.decompose.artifacts import read_json, write_json
from lorkit.decompose.documents.export_results import ChoiceRecord
from lorkit.decompose.errors import MissingRuntimeError
from lorkit.decompose.machine import fingerprint
from lorkit.decompose.runs import ExportSelection, open_run
from lorkit.export.benchmarking.benchmark import bench
from lorkit.export.building.exporting import export
from lorkit.export.gating.pairing import GateExports, pair_exports
from lorkit.export.prediction.prediction import predict
from lorkit.export.runtime.engine import load_engine
from lorkit.export.runtime.preference import export_preference, record_path, recorded_regions

OPTIONS: dict[str, Any] = {"region": "chest", "profile": "cpu-generic", "owners": ("expert", "foundation")}


def record(run: Path, chosen: str, target: str = "onnx", option: str | None = None) -> None:
    option = option or target
    about = {"target": target, "profile": "cpu-generic"}
    block = {**about, "precision": chosen, "candidates": [], "reasons": [], "conditions": choice_conditions()}
    block |= {"target_option": option, "precision_option": "auto", "baseline": "onnx"}
    document = {
        **about,
        "target": option,
        "created": "",
        "run": "run",
        "synthetic": False,
        "machine": fingerprint(),
        "tools": {},
    }
    path = record_path(open_run(run), option, "cpu-generic")
    path.parent.mkdir(exist_ok=True)
    ChoiceRecord.model_validate({**document, "regions": {"chest": block}}).write(path)


def one(
    created: str, precision: str, proven: bool = True, *, target: str = "onnx", profile: str = "cpu-generic"
) -> Any:
    key = ("chest", target, profile, precision)
    path = Path(f"{target}-{profile}-{precision}")
    return SimpleNamespace(key=key, proven=proven, manifest=SimpleNamespace(created=created), path=path)


def test_proven_then_target_then_fp32_then_newest() -> None:
    unproven = one("9", "fp32", proven=False)
    old, new, low = one("1", "fp32"), one("2", "fp32"), one("3", "int8")
    vino, compiled, served = (one("8", "fp32", target=name) for name in ("openvino", "aoti", "trt"))
    foreign = one("7", "fp32", profile="of-a-user"), one("6", "fp32", target="openvino", profile="of-a-user")
    expected = [unproven, served, compiled, vino, low, old, new]
    assert (
        sorted([new, vino, low, compiled, unproven, served, old], key=lambda found: export_preference(found, None))
        == expected
    )
    assert max(foreign, key=lambda found: export_preference(found, None)) is foreign[0]


def test_a_tie_is_decided_by_name_and_not_by_the_order_of_the_disk() -> None:
    pair = [one("1", "fp32", profile="cpu-avx512-vnni"), one("1", "fp32", profile="cpu-generic")]
    assert max(pair, key=lambda found: export_preference(found, None)) is pair[1]
    assert max(reversed(pair), key=lambda found: export_preference(found, None)) is pair[1]


def test_what_auto_chose_for_another_target_is_what_predict_and_gate_take(extracted: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(extracted, tmp_path / "run"))
    for target in ("onnx", "monai"):
        export(run, target=target, **OPTIONS)
    picture = tmp_path / "picture.png"
    Image.fromarray(np.zeros((16, 16), dtype=np.uint8)).save(picture)

    def taken() -> tuple[str, str]:
        found = predict(
            run=run, region="chest", inputs=[picture], allow_synthetic=True, allow_out_of_region=True
        ).network
        (pair,) = pair_exports(GateExports(open_run(run), ExportSelection(region="chest")))
        return found.target, pair.candidate.info.target

    assert taken() == ("onnx", "onnx")  # although the other is newer
    record(run, "fp32", target="monai")
    assert taken() == ("monai", "monai")
    record(run, "fp32", target="onnx", option="auto")
    assert taken() == ("onnx", "onnx"), "the choice among all targets precedes that of one"


def test_predict_and_gate_take_what_auto_chose(extracted: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(extracted, tmp_path / "run"))
    for precision in ("int8", "fp32"):
        export(run, precision=precision, **OPTIONS)
    picture = tmp_path / "picture.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (16, 16), dtype=np.uint8)).save(picture)

    def taken() -> tuple[str, str, tuple[str, ...]]:
        found = predict(
            run=run, region="chest", inputs=[picture], allow_synthetic=True, allow_out_of_region=True
        ).network
        (pair,) = pair_exports(GateExports(open_run(run), ExportSelection(region="chest")))
        return found.precision, pair.candidate.info.precision, pair.not_judged

    assert taken() == ("fp32", "fp32", ("onnx cpu-generic int8",))
    record(run, "int8")
    assert taken() == ("int8", "int8", ("onnx cpu-generic fp32",))


def test_what_was_not_built_here_keeps_nothing_else_from_running(extracted: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(extracted, tmp_path / "run"))
    export(run, **OPTIONS)
    with pytest.raises(MissingRuntimeError):
        export(run, target="aoti", **OPTIONS | {"profile": "h200", "owners": ("expert",)})
    (unbuilt,) = run.glob("exports/chest/aoti-*")
    with pytest.raises(MissingRuntimeError, match=r"has no engine.*--target aoti --profile h200"):
        load_engine(unbuilt)
    document = bench(run=run, region="chest", samples=12, max_seconds=2.0).to_json()
    assert {row["target"] for row in document["exports"]} == {"onnx"}
    assert any("has no engine" in text for text in document["warnings"])


@pytest.mark.parametrize("candidates", [[{}], 3, [{"precision": "int8", "verdict": "lost", "latency_test": "fast"}]])
def test_a_damaged_record_is_none(extracted: Path, tmp_path: Path, candidates: object) -> None:
    run = Path(shutil.copytree(extracted, tmp_path / "run"))
    record(run, "int8")
    path = record_path(open_run(run), "onnx", "cpu-generic")
    assert list(recorded_regions(path)) == ["chest"]
    document = read_json(path)
    document["regions"]["chest"]["candidates"] = candidates
    write_json(path, document)
    assert recorded_regions(path) == {}
    assert recorded_regions(tmp_path / "none.json") == {}
