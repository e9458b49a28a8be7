import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from sample_documents import CASES, accuracy, costs, measured, region
from sample_documents import gate as gate_document

from lorkit.decompose.documents.gate import CaseSet, GateRegion
from lorkit.decompose.errors import ArtifactError, UsageError
from lorkit.decompose.events import Event, Working
from lorkit.decompose.runs import Run, export_directory
from lorkit.export.gating import gating
from lorkit.export.gating.baselines import (
    current_baselines,
    is_store,
    other_cases,
    read_record,
    replace_baseline,
    replace_baselines,
)
from lorkit.export.gating.gating import gate
from lorkit.export.runtime.exported import Exported, read_exported


@pytest.fixture
def exports(workshop: Any, tmp_path: Path) -> list[Exported]:
    return [
        read_exported(workshop.write_export(tmp_path / f"v{work}", owner="expert", region="chest", work=work))
        for work in (1, 2)
    ]


def test_who_replaced_what_is_recorded_by_digest(
    exports: list[Exported], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "store"
    monkeypatch.setenv("GITHUB_ACTOR", "ward")
    monkeypatch.setenv("GITHUB_SHA", "c0ffee")
    (store / "exports" / ".half.1").mkdir(parents=True)
    for one in exports:
        replace_baseline(store, one, "pass")
    old, new = (one.manifest.digest for one in exports)
    record = read_record(store)
    assert is_store(store)
    assert record.current == {"chest/onnx/cpu-generic/fp32": new}
    seen = [(entry.replaced, entry.by, entry.who, entry.commit) for entry in record.history]
    assert seen == [(None, old, "ward", "c0ffee"), (old, new, "ward", "c0ffee")]
    assert [one.manifest.digest for one in current_baselines(store)] == [new]
    assert {path.name for path in (store / "exports").iterdir()} == {old, new}
    replace_baseline(store, exports[1], "pass")
    assert len(read_record(store).history) == 2


def test_only_a_pass_or_a_reason_replaces(exports: list[Exported], tmp_path: Path) -> None:
    for reason in (None, "  "):
        with pytest.raises(UsageError, match="INCONCLUSIVE"):
            replace_baseline(tmp_path / "store", exports[0], "inconclusive", because=reason)
    assert not (tmp_path / "store").exists()
    entry = replace_baseline(tmp_path / "store", exports[0], "fail", because="the ward asked for it")
    assert (entry.verdict, entry.because) == ("fail", "the ward asked for it")


def test_what_is_in_service_yields_only_to_a_verdict_against_it(
    a_run: Run, exports: list[Exported], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "store"
    replace_baseline(store, exports[0], "pass")
    judged = []

    def judge(pair: Any, *_: Any, **__: Any) -> GateRegion:
        judged.append(pair)
        return measured(pair)

    monkeypatch.setattr(gating, "judge_region", judge)
    with pytest.raises(UsageError, match="against another one"):
        gate(a_run.path, region="chest", update_baseline=store)
    assert judged == []  # said before anything is measured
    with pytest.raises(UsageError, match="against another one"):  # another adoption was faster
        replace_baseline(store, exports[1], "pass", against="0" * 64)
    assert read_record(store).current["chest/onnx/cpu-generic/fp32"] == exports[0].manifest.digest
    gate(a_run.path, region="chest", update_baseline=store, because="the foundation is the yardstick")
    assert len(read_record(store).history) == 2


def test_only_what_was_judged_is_adopted(exports: list[Exported], tmp_path: Path) -> None:
    about = exports[0].describe().with_changes(digest=exports[1].manifest.digest)
    document = gate_document({"chest": region(baseline=about, candidate=about)})
    with pytest.raises(ArtifactError, match="no longer the export that was judged"):
        replace_baselines(tmp_path / "store", document)
    assert not (tmp_path / "store").exists()


def test_a_user_without_a_name_is_recorded_by_number(
    exports: list[Exported], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nobody() -> str:
        raise KeyError("getpwuid(): uid not found")

    monkeypatch.delenv("GITHUB_ACTOR", raising=False)
    monkeypatch.delenv("GITLAB_USER_LOGIN", raising=False)
    monkeypatch.setattr("getpass.getuser", nobody)
    assert replace_baseline(tmp_path / "store", exports[0], "pass").who.startswith(f"{os.getuid()}@")


@pytest.mark.parametrize("history", [["x"], [{"cases": 5}]])
def test_a_history_of_something_else_is_refused(exports: list[Exported], tmp_path: Path, history: list[Any]) -> None:
    replace_baseline(tmp_path, exports[0], "pass")
    record = read_record(tmp_path).to_json()
    (tmp_path / "baselines.json").write_text(json.dumps(record | {"history": history}))
    with pytest.raises(ArtifactError, match=r"baselines\.json .*history.0.*; restore it from version control"):
        read_record(tmp_path)


@pytest.mark.parametrize("damage", ["missing", "changed", "renamed", "record"])
def test_a_baseline_that_is_not_the_recorded_one_is_refused(
    exports: list[Exported], tmp_path: Path, damage: str
) -> None:
    store = tmp_path / "store"
    replace_baseline(store, exports[0], "pass")
    place = store / "exports" / exports[0].manifest.digest
    record = json.loads((store / "baselines.json").read_text())
    if damage == "missing":
        shutil.rmtree(place)
    elif damage == "changed":
        shutil.rmtree(place)
        shutil.copytree(exports[1].path, place)
    elif damage == "renamed":
        record["current"] = {"brain/onnx/cpu-generic/fp32": exports[0].manifest.digest}
    else:
        record["current"] = {"chest/onnx/cpu-generic/fp32": "../../etc"}
    (store / "baselines.json").write_text(json.dumps(record))
    with pytest.raises(ArtifactError):
        current_baselines(store)


def test_a_gate_judges_a_run_against_a_store_and_replaces_on_pass(
    a_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "store"
    verdicts = iter(("pass", "fail", "pass"))

    def judge(pair: Any, *_: Any, **__: Any) -> GateRegion:
        return measured(pair, deterministic=costs(verdict=next(verdicts)))

    monkeypatch.setattr(gating, "judge_region", judge)
    first = gate(a_run.path, region="chest", update_baseline=store).to_json()
    assert [entry["replaced"] for entry in first["replaced_baselines"]] == [None]
    assert gate(a_run.path, region="chest", baseline=store, update_baseline=store).to_json()["replaced_baselines"] == []
    again = gate(a_run.path, region="chest", baseline=store, update_baseline=store).to_json()
    directory = export_directory(a_run, "expert", "chest", "onnx", "cpu-generic", "fp32")
    assert again["regions"]["chest"]["baseline"]["digest"] == read_exported(directory).manifest.digest
    assert again["regions"]["chest"]["baseline"]["path"].startswith(str(store))
    assert len(read_record(store).history) == 1


def test_a_store_without_any_of_the_regions_is_inconclusive(
    a_run: Run, exports: list[Exported], tmp_path: Path
) -> None:
    replace_baseline(tmp_path / "store", exports[0], "pass")
    document = gate(a_run.path, region="knee", baseline=tmp_path / "store").to_json()
    assert (document["verdict"], list(document["regions"])) == ("inconclusive", ["knee"])
    assert document["warnings"] == []


def test_what_is_in_service_and_was_not_judged_is_named(
    a_run: Run, exports: list[Exported], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workshop: Any
) -> None:
    store = tmp_path / "store"
    places = [export_directory(a_run, "expert", name, "onnx", "cpu-generic", "fp32") for name in ("chest", "knee")]
    for place in places:
        replace_baseline(store, read_exported(place), "pass")
    shutil.rmtree(places[1])
    lower = export_directory(a_run, "expert", "chest", "onnx", "cpu-generic", "int8")
    workshop.write_export(lower, owner="expert", region="chest", parent=a_run.path, precision="int8")

    def judge(pair: Any, *_: Any, **__: Any) -> GateRegion:
        return measured(pair)

    monkeypatch.setattr(gating, "judge_region", judge)
    said = " ".join(gate(a_run.path, baseline=store).to_json()["warnings"])
    assert "knee/onnx/cpu-generic/fp32 is a baseline in" in said
    assert "Other exports were not: onnx cpu-generic int8" in said
    assert "is a baseline in" not in " ".join(gate(a_run.path, baseline=store, region="chest").to_json()["warnings"])


def test_case_sets_of_two_keys_are_not_compared(exports: list[Exported], tmp_path: Path) -> None:
    one, other, same = (CaseSet.model_validate(CASES | {"key": key * 16}) for key in ("a", "b", "a"))
    replace_baseline(tmp_path, exports[0], "pass", cases=one)
    cases = (other.with_changes(digest="2" * 64), same, same.with_changes(digest="2" * 64))
    judged = [region(accuracy_test=accuracy(case_set=about.to_json())) for about in cases]
    said = [other_cases(tmp_path, exports[0], block) or "" for block in judged]
    assert "unknown whether the case sets are the same" in said[0]
    assert said[1] == ""
    assert "of different case sets" in said[2]


def test_a_region_without_a_baseline_in_the_store_is_not_passed_over(
    a_run: Run, exports: list[Exported], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "store"
    replace_baseline(store, exports[0], "pass", cases=CaseSet.model_validate(CASES | {"digest": "0" * 64}))

    def judge(pair: Any, *_: Any, **__: Any) -> GateRegion:
        return measured(pair)

    monkeypatch.setattr(gating, "judge_region", judge)
    document = gate(a_run.path, baseline=store, update_baseline=store).to_json()
    assert {name: block["verdict"] for name, block in document["regions"].items()} == {
        "chest": "pass",
        "knee": "inconclusive",
    }
    assert "has no baseline of this region" in document["regions"]["knee"]["reasons"][0]
    assert document["replaced_baselines"] == []
    assert any("of different case sets" in text for text in document["warnings"])
    kept = gate(a_run.path, baseline=store, update_baseline=store, because="knee is new").to_json()[
        "replaced_baselines"
    ]
    assert sorted(entry["key"].split("/")[0] for entry in kept) == ["chest", "knee"]
    assert gate(a_run.path, baseline=store).to_json()["verdict"] == "pass"


def test_what_was_exported_anew_since_it_was_judged_is_not_adopted(
    a_run: Run, tmp_path: Path, workshop: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged: list[Path] = []

    def judge(pair: Any, *_: Any, **__: Any) -> GateRegion:
        judged.append(pair.candidate.path)
        return measured(pair)

    def replace_it(event: Event) -> None:
        if isinstance(event, Working) and event.done == event.total:
            shutil.rmtree(judged[0])
            workshop.write_export(judged[0], owner="expert", region="chest", parent=a_run.path, work=7)

    monkeypatch.setattr(gating, "judge_region", judge)
    with pytest.raises(ArtifactError, match="no longer the export that was judged"):
        gate(a_run.path, region="chest", update_baseline=tmp_path / "store", on_event=replace_it)
    assert not (tmp_path / "store").exists()
    assert json.loads((a_run.measurements_dir / "gate.json").read_text())["verdict"] == "pass"
