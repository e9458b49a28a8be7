"""Which precisions stay: what is not shown to be faster and good enough is removed, and the reason kept."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from played_measurements import play_measurements
from sample_documents import accuracy, latency

from lorkit import profiles
from lorkit.decompose.artifacts import read_json
from lorkit.decompose.documents.export_results import ExportCandidate, ExportResult
from lorkit.decompose.errors import UsageError
from lorkit.decompose.events import Event
from lorkit.decompose.machine import fingerprint
from lorkit.decompose.runs import locked_data, open_run
from lorkit.export.building import choice as choosing
from lorkit.export.building.choice import AutoExport, ChoiceLimits, choose_export
from lorkit.export.building.exporting import export
from lorkit.export.building.job import ExportJob
from lorkit.export.building.run_data import OpenedSplits
from lorkit.export.building.sources import networks_of_run
from lorkit.export.runtime import parity
from lorkit.export.runtime.exported import Exported, read_exported
from lorkit.export.runtime.preference import export_preference, record_path, tried_exports
from lorkit.export.targets import Availability, get_target

OPTIONS: dict[str, Any] = {"region": "chest", "profile": "cpu-generic", "precision": "auto", "max_seconds": 1.0}


@pytest.fixture
def run(exported: Path, tmp_path: Path) -> Path:
    """A run whose exports in fp32 are there: only what `auto` tries beside them is built."""
    return Path(shutil.copytree(exported, tmp_path / "run"))


@pytest.fixture
def asked() -> list[tuple[str, str, int, int]]:
    """Target, precision, batch size and number of candidates of each latency test."""
    return []


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch, asked: list[tuple[str, str, int, int]]) -> dict[str, Any]:
    """Verdicts in the place of measurements: what a busy machine says is not what these tests are about."""
    return play_measurements(monkeypatch, asked)


def names(results: list[ExportResult]) -> list[tuple[str, str]]:
    return [(result.owner, result.precision) for result in results]


def test_what_is_faster_and_good_enough_stays_beside_fp32(
    run: Path, measured: dict[str, Any], monkeypatch: pytest.MonkeyPatch
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
    document = read_json(record_path(open_run(run), "onnx", "cpu-generic"), kind="choice")
    (row,) = document["regions"]["chest"]["candidates"]
    assert (row["verdict"], row["latency_test"]["ratio"]) == ("kept", 0.4)
    assert "changed_answers" not in row["accuracy_test"]
    (tried,) = tried_exports(open_run(run))
    assert (tried.region, tried.precision, tried.ratio_ci) == ("chest", "int8", (0.2, 0.8))
    assert "it loses little" in tried.reason


def test_of_several_that_are_faster_the_fastest_stays(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ratios = {"fp16": 0.6, "int8": 0.4}

    def kept(source: object, baseline: object, job: ExportJob, *_: object) -> ExportCandidate:
        found = latency(ratio=ratios[job.precision])
        return ExportCandidate(
            target="onnx",
            precision=job.precision,
            verdict="kept",
            latency_test=found,
            accuracy_test=accuracy(),
            reason="It is fast.",
        )

    monkeypatch.setattr(choosing, "_try_candidate", kept)
    (source,) = networks_of_run(open_run(run), "chest", ("expert",))
    jobs = [ExportJob(get_target("onnx"), profiles.load("cpu-generic"), name) for name in ("fp32", *ratios)]
    limits = ChoiceLimits(max_accuracy_drop=0.02, seconds=1.0)
    asked = AutoExport(target="onnx", precision="auto", jobs=jobs, limits=limits)
    choice = choose_export(source, asked, lambda one, job: one.home / job.name, OpenedSplits())
    assert choice.precision == "int8"
    assert choice.reasons == ["onnx fp16: faster than onnx fp32, but onnx int8 is faster", "onnx int8: It is fast."]
    assert [row.verdict for row in choice.candidates] == ["lost", "kept"]


@pytest.mark.parametrize("verdict", ["fail", "inconclusive"])
@pytest.mark.parametrize(
    ("what", "reason"), [("latency", "not shown to be faster"), ("accuracy", "within the allowed drop")]
)
def test_what_is_not_decided_in_its_favour_is_removed(
    run: Path, measured: dict[str, Any], what: str, verdict: str, reason: str
) -> None:
    measured[what] = verdict
    results = export(run, **OPTIONS).exports
    assert {precision for _, precision in names(results)} == {"fp32"}
    assert not list(run.glob("exports/**/*int8"))
    (row,) = tried_exports(open_run(run))
    assert row.verdict == "lost"
    assert reason in row.reason


def test_what_was_measured_is_not_measured_again(
    run: Path, measured: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    export(run, **OPTIONS)
    monkeypatch.setattr(choosing, "compare_engines", None)
    assert all(result.up_to_date for result in export(run, **OPTIONS).exports)
    with pytest.raises(TypeError):  # another bound: it is asked again
        export(run, max_accuracy_drop=0.001, **OPTIONS)


def test_a_precision_that_the_network_cannot_stand_loses_with_its_reason(
    run: Path, measured: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(parity.TOLERANCES, "int8", 1e-9)
    results = export(run, **OPTIONS).exports
    assert {precision for _, precision in names(results)} == {"fp32"}
    assert "int8 differs by" in tried_exports(open_run(run))[0].reason


def test_a_foundation_that_cannot_stand_it_is_left_out_and_said(
    run: Path, measured: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from lorkit.decompose.errors import ParityError
    from lorkit.export.building import builder

    real = builder.build_export

    def build(source: Any, job: Any, session: Any, directory: Path) -> None:
        if source.owner == "foundation" and job.precision == "int8":
            raise ParityError("too far", required="nearer", fix="nothing")
        real(source, job, session, directory)

    monkeypatch.setattr(builder, "build_export", build)
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


def test_what_a_user_exported_before_is_left_alone(run: Path, measured: dict[str, Any]) -> None:
    export(run, **OPTIONS | {"precision": "int8"})
    measured["latency"] = "fail"
    results = export(run, **OPTIONS).exports
    assert {precision for _, precision in names(results)} == {"fp32"}
    assert (run / "exports" / "chest" / "onnx-cpu-generic-int8").is_dir()


@pytest.mark.parametrize("machine", [False, True])
def test_other_conditions_are_measured_anew(
    run: Path, measured: dict[str, Any], monkeypatch: pytest.MonkeyPatch, machine: bool
) -> None:
    export(run, **OPTIONS)
    measured["latency"] = "fail"
    if machine:
        monkeypatch.setattr(choosing, "fingerprint", lambda: {**fingerprint(), "cpu": "another"})
    export(run, **OPTIONS | ({} if machine else {"max_seconds": 2.0}))
    assert tried_exports(open_run(run))[0].verdict == "lost"


HALF = '{"schema_version": 1, "kind": "choice", "regions": {"chest": {"precision": 1}}}'


@pytest.mark.parametrize("content", ["no json", '{"schema_version": 1, "kind": "choice"}', HALF])
def test_a_damaged_record_counts_as_absent(run: Path, measured: dict[str, Any], content: str) -> None:
    export(run, **OPTIONS)
    path = record_path(open_run(run), "onnx", "cpu-generic")
    path.write_text(content)
    assert tried_exports(open_run(run)) == []
    assert export(run, **OPTIONS).exports[0].choice is not None
    assert len(tried_exports(open_run(run))) == 1


@pytest.mark.parametrize(
    "bounds",
    [{"max_seconds": 0.0}, {"max_seconds": -1.0}, {"max_seconds": float("nan")}, {"max_seconds": float("inf")},
     {"max_accuracy_drop": -0.1}, {"max_accuracy_drop": float("nan")}, {"max_accuracy_drop": 1.0}],
)  # fmt: skip
def test_bounds_that_make_no_sense_are_refused(run: Path, bounds: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="an accuracy drop of"):
        export(run, **OPTIONS | bounds)


def test_a_builders_refusal_is_a_lost_candidate(
    run: Path, measured: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from lorkit.export.building import builder

    real = builder.build_export

    def build(source: Any, job: Any, session: Any, directory: Path) -> None:
        if job.precision == "int8":
            raise UsageError("the parser refuses it", required="another graph", fix="nothing")
        real(source, job, session, directory)

    monkeypatch.setattr(builder, "build_export", build)
    results = export(run, **OPTIONS).exports
    assert {precision for _, precision in names(results)} == {"fp32"}
    assert "the parser refuses it" in tried_exports(open_run(run))[0].reason


ALL = {"region": "chest", "profile": "cpu-generic", "target": "auto", "max_seconds": 1.0, "owners": ("expert",)}


def test_of_all_targets_that_run_here_the_fastest_stays_beside_onnx(
    run: Path, measured: dict[str, Any], asked: list[tuple[str, str, int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(get_target("aoti")), "available", lambda *_: Availability(False, "no compiler"))
    results = export(run, **ALL).exports
    assert sorted((one.target, one.precision) for one in results) == [("onnx", "fp32"), ("openvino", "fp32")]
    tried = [("onnx", "int8"), ("openvino", "fp32"), ("openvino", "int8")]
    # tuned batch size, then the largest; the smallest is the tuned one
    assert asked == [(*one, batch, 3) for one in tried for batch in (1, 32)]
    rows = {(row.target, row.precision): row for row in tried_exports(open_run(run))}
    assert [rows[one].verdict for one in tried] == ["lost", "kept", "lost"]
    assert rows["onnx", "int8"].reason == "faster than onnx fp32, but openvino fp32 is faster"
    assert sorted(path.name for path in (run / "exports" / "chest").glob("*-cpu-generic-*")) == [
        "onnx-cpu-generic-fp32",
        "openvino-cpu-generic-fp32",
    ]
    best = max(chosen_exports(run), key=lambda one: export_preference(one, open_run(run)))
    assert (best.info.target, best.info.precision) == ("openvino", "fp32")
    monkeypatch.setattr(choosing, "compare_engines", None)
    assert all(one.up_to_date for one in export(run, **ALL).exports)


def chosen_exports(run: Path) -> list[Exported]:
    return [read_exported(path) for path in (run / "exports" / "chest").glob("*-cpu-generic-*")]


def test_the_probability_of_error_is_shared_by_the_candidates(
    run: Path, measured: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(get_target("aoti")), "available", lambda *_: Availability(False, "no compiler"))
    measured["p_within"] = 0.03  # enough for one candidate, not for three
    assert [one.precision for one in export(run, **OPTIONS | {"owners": ("expert",)}).exports] == ["fp32", "int8"]
    (result,) = export(run, **ALL).exports
    assert result.target == "onnx"
    assert result.choice is not None
    assert all("once 3 candidates are compared" in one.reason for one in result.choice.candidates)


@pytest.mark.parametrize(("batches", "lost"), [((1,), False), ((1, 4), True)])
def test_a_candidate_that_is_slow_at_another_batch_size_loses(
    run: Path, measured: dict[str, Any], batches: tuple[int, ...], lost: bool
) -> None:
    measured["batch 4"] = "inconclusive"
    export(run, batch=batches, threads=2, **OPTIONS | {"owners": ("expert",)})
    (row,) = tried_exports(open_run(run))
    assert (row.verdict == "lost") is lost
    assert ("not shown to be as fast at batch 4" in row.reason) is lost


@pytest.mark.parametrize(
    "options",
    [{"precision": "auto", "batch": [0]}, {"precision": "auto", "batch": []}, {"target": "auto", "threads": -1},
     {"batch": [1]}, {"threads": 2}, {"target": "auto", "precision": "fp16"}],
)  # fmt: skip
def test_batch_sizes_threads_and_precisions_that_make_no_sense_are_refused(run: Path, options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"batch|threads|precision"):
        export(run, profile="cpu-generic", **options)
    assert not list(run.glob("measurements/choice-*"))
