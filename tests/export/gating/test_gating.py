from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sample_documents import latency, measured

from lorkit.decompose.documents.gate import CHECKS, GateDocument, GateRegion
from lorkit.decompose.errors import DataError, MissingRuntimeError, UsageError
from lorkit.decompose.events import Event, Working
from lorkit.decompose.runs import Run, export_directory
from lorkit.export.gating import budgets, pairing, region_verdict
from lorkit.export.gating.gating import exit_code, gate


def replace_expert(run: Run, conftest: Any, region: str = "chest", **network: Any) -> None:
    directory = export_directory(run, "expert", region, "onnx", "cpu-generic", "fp32")
    shutil.rmtree(directory)
    conftest.write_export(directory, owner="expert", region=region, parent=run.path, **network)


def quick(run: Run | None = None, **options: Any) -> dict[str, Any]:
    options = {"max_seconds": 30.0, "region": "chest", "max_accuracy_drop": 0.05, **options}
    return gate(run and run.path, **options).to_json()


def test_a_faster_equally_good_expert_passes(a_run: Run) -> None:
    told: list[Event] = []
    document = gate(max_seconds=60.0, max_accuracy_drop=0.05, on_event=told.append).to_json()
    assert document["verdict"] == "pass", document["regions"]
    assert list(document["regions"]) == ["chest", "knee"]
    assert told == [Working(text, done, 2) for done, text in enumerate(("chest", "knee", "done"))]
    chest = document["regions"]["chest"]
    assert chest["latency_test"]["ratio"] < 0.8
    assert chest["latency_test"]["pairs"] >= 40
    assert set(chest["latency_test"]) >= {"ratio", "ci", "margin", "pairs", "noise_floor"}
    assert chest["accuracy_test"]["drop"] == 0
    assert set(chest["accuracy_test"]) >= {"drop", "ci", "allowed", "decidable"}
    assert chest["deterministic"]["costs"]["bytes"]["ratio"] < 1
    assert len(chest["reasons"]) == 4
    assert [len(sentences) for sentences in chest["reasons_by_check"].values()] == [2, 1, 1, 0]
    assert document["synthetic"]
    assert exit_code(GateDocument.model_validate(document)) == 0
    assert GateDocument.read(a_run.measurements_dir / "gate.json").to_json() == document


@pytest.mark.parametrize("store", [False, True])
def test_exports_are_listed_once_and_engines_loaded_at_most_twice(
    a_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store: bool
) -> None:
    options: dict[str, Any] = {}
    if store:
        gate(a_run.path, region="chest", update_baseline=tmp_path / "store", because="to begin with", max_seconds=0.1)
        options["baseline"] = tmp_path / "store"
    listed, loaded = [], []
    real_list, real_load = pairing.exports_of, region_verdict.load_opened
    monkeypatch.setattr(pairing, "exports_of", lambda *a, owners: listed.append(owners) or real_list(*a, owners=owners))
    for module in (region_verdict, budgets):
        monkeypatch.setattr(module, "load_opened", lambda one, **k: loaded.append(one.path) or real_load(one, **k))
    document = quick(a_run, max_seconds=0.1, **options)
    chest = document["regions"]["chest"]
    assert chest["accuracy_test"]["ci"] is not None
    assert listed == ([("expert",)] if store else [("expert",), ("foundation",)])
    counts = Counter(str(path) for path in loaded)
    assert counts == {chest["baseline"]["path"]: 2, chest["candidate"]["path"]: 1}


def test_a_verdict_that_cannot_be_stored_is_returned_and_said(a_run: Run) -> None:
    shutil.rmtree(a_run.measurements_dir, ignore_errors=True)
    a_run.measurements_dir.write_text("a file in its place")
    document = quick(max_seconds=0.1)
    assert document["regions"]["chest"]["verdict"] in ("pass", "inconclusive", "fail")
    assert document["warnings"][-1] == "The verdict was not kept in the run: File exists (measurements)."


def test_a_slow_expert_fails(a_run: Run, workshop: Any) -> None:
    replace_expert(a_run, workshop, work=40, width=16)
    document = quick()
    chest = document["regions"]["chest"]
    assert chest["latency_test"]["verdict"] == "fail"
    assert chest["deterministic"]["verdict"] == "fail"
    assert exit_code(GateDocument.model_validate(document)) == 1


def test_an_inaccurate_expert_fails_although_it_is_fast(a_run: Run, workshop: Any) -> None:
    replace_expert(a_run, workshop, work=4, threshold=0.7)
    document = quick()
    chest = document["regions"]["chest"]
    assert (chest["latency_test"]["verdict"], chest["accuracy_test"]["verdict"]) == ("pass", "fail")
    assert chest["accuracy_test"]["drop"] > 0.1
    assert chest["accuracy_test"]["label_flips"] > 0
    assert document["verdict"] == "fail"


def test_too_few_cases_are_inconclusive_and_say_what_they_could_decide(a_run: Run, workshop: Any) -> None:
    replace_expert(a_run, workshop, work=4, threshold=0.50001)
    document = quick(max_accuracy_drop=0.001, max_seconds=0.1)
    accuracy = document["regions"]["chest"]["accuracy_test"]
    assert accuracy["verdict"] == "inconclusive"
    assert accuracy["decidable"] > 0.001
    assert (
        f"About {accuracy['needed_groups']} patients would exclude a larger drop"
        in document["regions"]["chest"]["reasons"][-1]
    )
    assert exit_code(GateDocument.model_validate(document)) == 3
    assert exit_code(GateDocument.model_validate(document), "pass") == 0
    assert exit_code(GateDocument.model_validate(document), "fail") == 1


def test_lone_exports_are_never_passed_without_cases(a_run: Run, tmp_path: Path, monkeypatch: Any) -> None:
    paths = {}
    for owner in ("foundation", "expert"):
        paths[owner] = tmp_path / "elsewhere" / owner
        shutil.copytree(export_directory(a_run, owner, "chest", "onnx", "cpu-generic", "fp32"), paths[owner])
    (cases,) = a_run.config.regions["chest"].data or ()
    monkeypatch.chdir(tmp_path / "elsewhere")
    options = {"baseline": paths["foundation"], "candidate": paths["expert"]}
    document = quick(**options, max_seconds=0.1)
    assert document["verdict"] == "inconclusive"
    assert document["run"] is None
    assert "neither --data" in document["regions"]["chest"]["reasons"][-1]
    with_data = quick(**options, data=cases)
    assert with_data["verdict"] == "pass", with_data
    assert with_data["regions"]["chest"]["accuracy_test"]["n"] == 800


def test_a_locked_split_whose_data_is_gone_is_inconclusive(a_run: Run) -> None:
    source = Path(a_run.config.regions["chest"].data[0])  # type: ignore[index]
    kept = source.rename(source.with_suffix(".away"))
    try:
        document = quick(max_seconds=0.1)
    finally:
        kept.rename(source)
    assert document["regions"]["chest"]["accuracy_test"]["verdict"] == "inconclusive"
    assert "cannot be read" in document["regions"]["chest"]["reasons"][-1]


def test_what_cannot_run_here_is_inconclusive(a_run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, *, threads: int | None = None) -> None:
        raise MissingRuntimeError("no TensorRT here", fix="pip install tensorrt")

    monkeypatch.setattr(region_verdict, "load_opened", refuse)
    document = quick()
    assert document["verdict"] == "inconclusive"
    assert "no TensorRT here" in document["regions"]["chest"]["reasons"][-1]
    by_check = document["regions"]["chest"]["reasons_by_check"]
    assert ["no TensorRT here" in "".join(by_check[name]) for name in CHECKS[:3]] == [
        False, True, True,
    ]  # fmt: skip
    assert sum("no TensorRT here" in sentence for sentence in document["regions"]["chest"]["reasons"]) == 1
    assert document["regions"]["chest"]["deterministic"]["verdict"] == "pass"


@pytest.mark.parametrize(
    "options",
    [
        {"margin": -1.0},
        {"max_accuracy_drop": 2.0},
        {"max_seconds": 0.0},
        {"max_seconds": float("inf")},
        {"on_inconclusive": "ignore"},
    ],
)
def test_senseless_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        gate(**options)


def test_a_region_whose_foundation_was_not_exported_is_not_passed_over(
    a_run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def judge(pair: Any, *_: Any, **__: Any) -> GateRegion:
        return measured(pair)

    monkeypatch.setattr("lorkit.export.gating.gating.judge_region", judge)
    shutil.rmtree(export_directory(a_run, "foundation", "knee", "onnx", "cpu-generic", "fp32"))
    document = gate(a_run.path).to_json()
    verdicts = {name: block["verdict"] for name, block in document["regions"].items()}
    assert verdicts == {"chest": "pass", "knee": "inconclusive"}
    assert document["verdict"] == "inconclusive"


def test_one_file_cannot_judge_two_regions(a_run: Run, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--region"):
        gate(data=tmp_path / "chest.npz")
    with pytest.raises(DataError):
        quick(data=tmp_path / "nowhere.npz", max_seconds=1.0)


def test_the_seed_decides_the_accuracy_interval(a_run: Run) -> None:
    first, second = (quick(seed=3, max_seconds=0.1)["regions"]["chest"]["accuracy_test"] for _ in range(2))
    assert first == second
    assert np.isfinite(first["ci"]).all()


def test_time_that_a_region_leaves_over_goes_to_the_next(a_run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    given = []

    def judge(pair: Any, *_: Any, seconds: float, **__: Any) -> GateRegion:
        given.append(seconds)
        return measured(pair, latency_test=latency(seconds=4.0))

    monkeypatch.setattr("lorkit.export.gating.gating.judge_region", judge)
    gate(a_run.path, max_seconds=20.0)
    assert given == [10.0, 16.0]


def test_an_export_against_itself_passes_with_few_cases_and_says_why(a_run: Run, tmp_path: Path) -> None:
    path = export_directory(a_run, "expert", "chest", "onnx", "cpu-generic", "fp32")
    copy = shutil.copytree(path, tmp_path / "copy")
    with np.load(a_run.config.regions["chest"].data[0]) as stored:  # type: ignore[index]
        few = np.flatnonzero(stored["split"] == "test")[:8]
        arrays = {name: stored[name][few] for name in ("images", "labels")}
    np.savez(tmp_path / "few.npz", **arrays, label_names=["dark", "bright"])
    document = gate(baseline=path, candidate=copy, data=tmp_path / "few.npz", max_seconds=2.0)
    chest = document.regions["chest"]
    assert (document.verdict, chest.accuracy_test.identical, chest.accuracy_test.drop) == ("pass", "file", 0.0)
    assert any("the same file: the drop is 0 by construction" in text for text in chest.reasons)
    floor = gate(baseline=path, candidate=copy, data=tmp_path / "few.npz", max_seconds=0.1, min_accuracy=1.0)
    assert floor.verdict == "inconclusive"


def test_a_file_against_itself_needs_no_cases(a_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = shutil.copytree(
        export_directory(a_run, "expert", "chest", "onnx", "cpu-generic", "fp32"), tmp_path / "elsewhere" / "one"
    )
    monkeypatch.chdir(tmp_path / "elsewhere")
    document = gate(baseline=path, candidate=path, max_seconds=2.0)
    assert document.verdict == "pass"
    assert gate(baseline=path, candidate=path, max_seconds=0.1, min_recall=0.5).verdict == "inconclusive"


def test_least_values_fail_an_expert_that_lost_nothing(a_run: Run, workshop: Any) -> None:
    for owner in ("foundation", "expert"):
        directory = export_directory(a_run, owner, "chest", "onnx", "cpu-generic", "fp32")
        shutil.rmtree(directory)
        work = 1 if owner == "expert" else 12
        workshop.write_export(
            directory, owner=owner, region="chest", parent=a_run.path, threshold=0.6, work=work, width=16
        )
    document = gate(a_run.path, region="chest", max_seconds=0.1, min_accuracy={"*": 0.1, "chest": 0.95}, min_recall=0.5)
    accuracy = document.regions["chest"].accuracy_test
    assert accuracy.verdict == "fail"
    assert accuracy.drop == 0.0
    assert accuracy.floors[0].verdict == "fail"
    assert document.min_accuracy == {"*": 0.1, "chest": 0.95}
