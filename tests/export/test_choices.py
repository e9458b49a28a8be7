"""Which of several exports of a region is taken: predict and gate follow the same order, and say what they left."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lorkit.decompose.artifacts import write_json
from lorkit.decompose.errors import MissingRuntimeError
from lorkit.decompose.runs import open_run
from lorkit.export.benchmark import bench
from lorkit.export.choices import preference, record_path
from lorkit.export.contests import Selection, contests
from lorkit.export.exporting import export
from lorkit.export.inference import load_engine
from lorkit.export.prediction import predict

OPTIONS: dict[str, Any] = {"region": "chest", "profile": "cpu-generic", "owners": ("expert", "foundation")}


def record(run: Path, chosen: str) -> None:
    block = {"target": "onnx", "profile": "cpu-generic", "chosen": chosen, "candidates": [], "conditions": {}}
    path = record_path(open_run(run), "onnx", "cpu-generic")
    path.parent.mkdir(exist_ok=True)
    write_json(path, {"schema_version": 1, "kind": "precision", "warnings": [], "regions": {"chest": block}})


def test_proven_then_chosen_then_fp32_then_newest(tmp_path: Path) -> None:
    def one(created: str, precision: str, proven: bool = True) -> Any:
        info = {"target": "onnx", "profile": "cpu-generic", "precision": precision}
        return SimpleNamespace(
            region="chest", info=info, proven=proven, manifest=SimpleNamespace(created=created), path=tmp_path
        )

    old, new, low, unproven = one("1", "fp32"), one("2", "fp32"), one("3", "int8"), one("4", "fp32", proven=False)
    ordered = sorted([unproven, low, new, old], key=lambda found: preference(found, None))
    assert ordered == [unproven, low, old, new]


def test_predict_and_gate_take_what_auto_chose(extracted: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(extracted, tmp_path / "run"))
    for precision in ("int8", "fp32"):
        export(run, precision=precision, **OPTIONS)
    picture = tmp_path / "picture.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (16, 16), dtype=np.uint8)).save(picture)

    def taken() -> tuple[str, str, tuple[str, ...]]:
        found = predict(run=run, region="chest", inputs=[picture], allow_synthetic=True, allow_out_of_region=True)
        (pair,) = contests(open_run(run), Selection(region="chest"))
        return found["network"]["precision"], pair.candidate.info["precision"], pair.beside

    assert taken() == ("fp32", "fp32", ("onnx cpu-generic int8",))
    record(run, "int8")
    assert taken() == ("int8", "int8", ("onnx cpu-generic fp32",))


def test_what_was_not_built_here_keeps_nothing_else_from_running(extracted: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(extracted, tmp_path / "run"))
    export(run, **OPTIONS)
    with pytest.raises(MissingRuntimeError):
        export(run, target="aoti", **OPTIONS | {"profile": "h200", "owners": ("expert",)})
    (unbuilt,) = run.glob("exports/chest/aoti-*")
    with pytest.raises(MissingRuntimeError, match=r"holds no engine.*--target aoti --profile h200"):
        load_engine(unbuilt)
    document = bench(run=run, region="chest", samples=12, max_seconds=2.0)
    assert {row["target"] for row in document["exports"]} == {"onnx"}
    assert any("holds no engine" in text for text in document["warnings"])
