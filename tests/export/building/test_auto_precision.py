"""Which precisions stay: what is not shown to be faster and good enough is removed, and the reason kept."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sample_documents import accuracy, flip, latency

from lorkit import profiles
from lorkit.decompose.artifacts import read_json
from lorkit.decompose.documents.export import ExportResult, PrecisionCandidate
from lorkit.decompose.documents.heads import MixtureForm
from lorkit.decompose.errors import UsageError
from lorkit.decompose.events import Event
from lorkit.decompose.machine import fingerprint
from lorkit.decompose.runs import locked_data, open_run
from lorkit.export.building import auto_precision
from lorkit.export.building.auto_precision import AutoPrecisionLimits, choose_precision
from lorkit.export.building.exporting import export
from lorkit.export.building.job import ExportJob
from lorkit.export.building.sources import OpenedSplits, networks_of_run
from lorkit.export.runtime import parity
from lorkit.export.runtime.preference import precision_trials, record_path
from lorkit.export.targets import get_target

OPTIONS: dict[str, Any] = {"region": "chest", "profile": "cpu-generic", "precision": "auto", "max_seconds": 1.0}


@pytest.fixture
def run(exported: Path, tmp_path: Path) -> Path:
    """A run whose exports in fp32 are there: only what `auto` tries beside them is built."""
    return Path(shutil.copytree(exported, tmp_path / "run"))


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Verdicts in the place of measurements: what a busy machine says is not what these tests are about."""
    verdicts = {"latency": "pass", "accuracy": "pass"}

    def compare(pair: Any, engines: Any, *, margin: float, **_: Any) -> Any:
        assert margin == 0.0
        subjects = (pair.baseline, pair.candidate, pair.baseline)
        assert [engine.exported.path for engine in engines] == [one.path for one in subjects]
        found = latency(ratio=0.4, ci=[0.3, 0.5], looks=[], verdict=verdicts["latency"])
        return found, "It takes its time."

    def judge(pair: Any, engines: Any, cases: Any, test: Any) -> Any:
        assert "validation part" in cases.source
        assert len(cases.read(pair.candidate.recipe)) > 0
        return accuracy(verdict=verdicts["accuracy"], allowed=test.allowed, changed_answers=[flip("a digest")])

    monkeypatch.setattr(auto_precision, "compare_engines", compare)
    monkeypatch.setattr(auto_precision, "judge_accuracy", judge)
    monkeypatch.setattr(auto_precision, "explain_accuracy", lambda block: ["It loses little."])
    return verdicts


def names(results: list[ExportResult]) -> list[tuple[str, str]]:
    return [(result.owner, result.precision) for result in results]


def test_what_is_faster_and_good_enough_stays_beside_fp32(
    run: Path, measured: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, read = [], locked_data.read_region
    monkeypatch.setattr(locked_data, "read_region", lambda name, *a, **k: seen.append(name) or read(name, *a, **k))
    results = export(run, **OPTIONS).exports
    assert seen == ["chest"], "parity, calibration and accuracy share the images"
    both = [(owner, precision) for owner in ("expert", "foundation", "student") for precision in ("fp32", "int8")]
    assert sorted(names(results)) == sorted(both)
    assert all(result.path.is_dir() for result in results)
    choice = results[0].choice
    assert choice is not None
    assert choice.precision == "int8"
    document = read_json(record_path(open_run(run), "onnx", "cpu-generic"), kind="precision")
    (row,) = document["regions"]["chest"]["candidates"]
    assert (row["verdict"], row["latency_test"]["ratio"]) == ("kept", 0.4)
    assert "changed_answers" not in row["accuracy_test"]
    (tried,) = precision_trials(open_run(run))
    assert (tried.region, tried.precision, tried.ratio_ci) == ("chest", "int8", (0.3, 0.5))
    assert "it loses little" in tried.reason


def test_of_several_that_are_faster_the_fastest_stays(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ratios = {"fp16": 0.6, "int8": 0.4}

    def kept(source: object, baseline: object, job: ExportJob, *_: object) -> PrecisionCandidate:
        found = latency(ratio=ratios[job.precision])
        return PrecisionCandidate(
            precision=job.precision, verdict="kept", latency_test=found, accuracy_test=accuracy(), reason="It is fast."
        )

    monkeypatch.setattr(auto_precision, "_try_candidate", kept)
    (source,) = networks_of_run(open_run(run), "chest", ("expert",))
    jobs = [ExportJob(get_target("onnx"), profiles.load("cpu-generic"), name) for name in ("fp32", *ratios)]
    limits = AutoPrecisionLimits(max_accuracy_drop=0.02, seconds=1.0)
    choice = choose_precision(source, jobs, limits, lambda one, job: one.home / job.name, OpenedSplits())
    assert choice.precision == "int8"
    assert choice.reasons == ["fp16: faster than fp32, but int8 is faster", "int8: It is fast."]
    assert [row.verdict for row in choice.candidates] == ["lost", "kept"]


@pytest.mark.parametrize("verdict", ["fail", "inconclusive"])
@pytest.mark.parametrize(
    ("what", "reason"), [("latency", "not shown to be faster"), ("accuracy", "within the allowed drop")]
)
def test_what_is_not_decided_in_its_favour_is_removed(
    run: Path, measured: dict[str, str], what: str, verdict: str, reason: str
) -> None:
    measured[what] = verdict
    results = export(run, **OPTIONS).exports
    assert {precision for _, precision in names(results)} == {"fp32"}
    assert not list(run.glob("exports/**/*int8"))
    (row,) = precision_trials(open_run(run))
    assert row.verdict == "lost"
    assert reason in row.reason


def test_what_was_measured_is_not_measured_again(
    run: Path, measured: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    export(run, **OPTIONS)
    monkeypatch.setattr(auto_precision, "compare_engines", None)
    assert all(result.up_to_date for result in export(run, **OPTIONS).exports)
    with pytest.raises(TypeError):  # another bound: it is asked again
        export(run, max_accuracy_drop=0.001, **OPTIONS)


def test_a_precision_that_the_network_cannot_stand_loses_with_its_reason(
    run: Path, measured: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(parity.TOLERANCES, "int8", 1e-9)
    results = export(run, **OPTIONS).exports
    assert {precision for _, precision in names(results)} == {"fp32"}
    assert "int8 differs by" in precision_trials(open_run(run))[0].reason


def test_a_foundation_that_cannot_stand_it_is_left_out_and_said(
    run: Path, measured: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from lorkit.decompose.errors import ParityError
    from lorkit.export.building import builder, exporting

    real = builder.build_export

    def build(source: Any, job: Any, session: Any, directory: Path) -> None:
        if source.owner == "foundation" and job.precision == "int8":
            raise ParityError("too far", required="nearer", fix="nothing")
        real(source, job, session, directory)

    monkeypatch.setattr(exporting, "build_export", build)
    said: list[Event] = []
    results = export(run, on_event=said.append, **OPTIONS).exports
    assert ("foundation", "int8") not in names(results)
    assert ("expert", "int8") in names(results)
    assert "foundation of chest is not exported at int8: too far" in str(said)


def test_an_expert_away_from_its_run_cannot_be_judged(run: Path, tmp_path: Path) -> None:
    expert = shutil.copytree(run / "experts" / "chest", tmp_path / "elsewhere")
    with pytest.raises(UsageError, match=r"--precision auto for an expert without its run"):
        export(expert, **OPTIONS)


def test_measured_for_real_nothing_that_is_slower_stays(run: Path) -> None:
    results = export(run, **OPTIONS).exports
    choice = results[0].choice
    assert choice is not None
    (row,) = choice.candidates
    kept = row.verdict == "kept"
    assert choice.precision == ("int8" if kept else "fp32")
    assert not kept or (row.latency_test is not None and row.latency_test.ci is not None and row.latency_test.ci[1] < 1)
    assert row.reason


def test_what_a_user_exported_before_is_left_alone(run: Path, measured: dict[str, str]) -> None:
    export(run, **OPTIONS | {"precision": "int8"})
    measured["latency"] = "fail"
    results = export(run, **OPTIONS).exports
    assert {precision for _, precision in names(results)} == {"fp32"}
    assert (run / "exports" / "chest" / "onnx-cpu-generic-int8").is_dir()


@pytest.mark.parametrize("machine", [False, True])
def test_other_conditions_are_measured_anew(
    run: Path, measured: dict[str, str], monkeypatch: pytest.MonkeyPatch, machine: bool
) -> None:
    export(run, **OPTIONS)
    measured["latency"] = "fail"
    if machine:
        monkeypatch.setattr(auto_precision, "fingerprint", lambda: {**fingerprint(), "cpu": "another"})
    export(run, **OPTIONS | ({} if machine else {"max_seconds": 2.0}))
    assert precision_trials(open_run(run))[0].verdict == "lost"


HALF = '{"schema_version": 1, "kind": "precision", "regions": {"chest": {"precision": 1}}}'


@pytest.mark.parametrize("content", ["no json", '{"schema_version": 1, "kind": "precision"}', HALF])
def test_a_damaged_record_counts_as_absent(run: Path, measured: dict[str, str], content: str) -> None:
    export(run, **OPTIONS)
    path = record_path(open_run(run), "onnx", "cpu-generic")
    path.write_text(content)
    assert precision_trials(open_run(run)) == []
    assert export(run, **OPTIONS).exports[0].choice is not None
    assert len(precision_trials(open_run(run))) == 1


@pytest.mark.parametrize(
    "bounds",
    [{"max_seconds": 0.0}, {"max_seconds": -1.0}, {"max_seconds": float("nan")}, {"max_seconds": float("inf")},
     {"max_accuracy_drop": -0.1}, {"max_accuracy_drop": float("nan")}, {"max_accuracy_drop": 1.0}],
)  # fmt: skip
def test_bounds_that_make_no_sense_are_refused(run: Path, bounds: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="an accuracy drop of"):
        export(run, **OPTIONS | bounds)


def test_a_builders_refusal_is_a_lost_candidate(
    run: Path, measured: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from lorkit.export.building import builder, exporting

    real = builder.build_export

    def build(source: Any, job: Any, session: Any, directory: Path) -> None:
        if job.precision == "int8":
            raise UsageError("the parser refuses it", required="another graph", fix="nothing")
        real(source, job, session, directory)

    monkeypatch.setattr(exporting, "build_export", build)
    results = export(run, **OPTIONS).exports
    assert {precision for _, precision in names(results)} == {"fp32"}
    assert "the parser refuses it" in precision_trials(open_run(run))[0].reason


def test_a_network_of_several_regions_is_judged_head_by_head_and_its_foundations_follow(
    several_run: Callable[[MixtureForm], Path], measured: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    judge: Any = auto_precision.judge_accuracy
    monkeypatch.setattr(auto_precision, "judge_accuracy", lambda pair, *a: seen.append(pair.region) or judge(pair, *a))
    run = several_run("region-id")
    results = export(run, **OPTIONS | {"region": "region-id"}).exports
    assert seen == ["chest", "knee"]
    precisions = [(one.owner, one.region, one.precision) for one in results]
    assert precisions == [
        ("expert", "region-id", "fp32"), ("expert", "region-id", "int8"),
        ("foundation", "chest", "fp32"), ("foundation", "chest", "int8"),
        ("foundation", "knee", "fp32"), ("foundation", "knee", "int8"),
    ]  # fmt: skip
    (tried,) = precision_trials(open_run(run))
    assert (tried.region, tried.verdict) == ("region-id", "kept")
    assert "of region chest, which loses most, it loses little" in tried.reason


def test_one_head_that_loses_too_much_is_enough(
    several_run: Callable[[MixtureForm], Path], measured: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    judge: Any = auto_precision.judge_accuracy

    def one_fails(pair: Any, *others: Any) -> Any:
        found = judge(pair, *others)
        return found.with_changes(verdict="inconclusive") if pair.region == "knee" else found

    monkeypatch.setattr(auto_precision, "judge_accuracy", one_fails)
    run = several_run("region-id")
    results = export(run, **OPTIONS | {"region": "region-id", "owners": ("expert",)}).exports
    assert [one.precision for one in results] == ["fp32"]
    (tried,) = precision_trials(open_run(run))
    assert "within the allowed drop: of region knee" in tried.reason
