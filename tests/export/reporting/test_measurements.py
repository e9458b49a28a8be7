from typing import Any

import pytest

from lorkit.decompose.artifacts import read_json, write_json
from lorkit.decompose.documents.evaluate import EvaluateDocument
from lorkit.decompose.errors import DataError
from lorkit.decompose.evaluation import evaluation
from lorkit.decompose.events import ignore
from lorkit.decompose.runs import MODELS, Run, locked_data
from lorkit.decompose.runs.locked_data import RunSplits
from lorkit.export.reporting import measurements
from lorkit.export.reporting.document import report_document
from lorkit.export.reporting.measurements import evaluations_of, latencies_of, scores_of
from lorkit.export.runtime.exported import read_exported


def test_what_is_missing_is_measured_on_data_read_once(
    a_run: Run, workshop: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, splits = [], RunSplits(a_run)

    def evaluate(run: Run, *, model: str, run_splits: object, teacher: object, on_event: object) -> EvaluateDocument:
        asked.append((model, run_splits))
        workshop.write_evaluations(run)
        return EvaluateDocument.read(run.measurements_dir / f"evaluate-{model}-test.json")

    monkeypatch.setattr(evaluation, "evaluate", evaluate)
    document = report_document(splits, on_event=ignore)
    assert asked == [(model, splits) for model in reversed(MODELS)]
    assert all(row.latency for row in document.table)


def test_what_is_measured_needs_no_data(measured: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locked_data, "read_region", None)
    warnings: list[str] = []
    assert all(evaluations_of(RunSplits(measured), warnings, ignore).values())
    assert warnings == []


def test_a_measurement_of_another_run_is_not_shown(measured: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    path = measured.measurements_dir / "evaluate-student-test.json"
    other = {**read_json(path), "run_digest": 64 * "0"}
    write_json(path, {key: value for key, value in other.items() if key != "seal"})

    def refuse(*arguments: object, **options: object) -> None:
        raise DataError("the data is gone")

    monkeypatch.setattr(locked_data, "read_region", refuse)
    document = report_document(RunSplits(measured), on_event=ignore)
    assert document.evaluations.root["student"] is None
    assert "student: the data is gone" in document.warnings[0]
    assert [row.accuracy for row in document.table if row.owner == "student"] == [None, None]


@pytest.fixture
def lowered(a_run: Run, workshop: Any) -> Run:
    place = a_run.exports_dir / "chest" / "onnx-cpu-generic-int8"
    options = {"owner": "expert", "region": "chest", "parent": a_run.path, "precision": "int8"}
    workshop.write_export(place, threshold=0.62, **options)
    return a_run


def exports(run: Run) -> list[Any]:
    paths = [run.exports_dir / "chest" / f"onnx-cpu-generic-{name}" for name in ("fp32", "int8")]
    return [read_exported(path) for path in paths if path.exists()]


def test_a_lower_precision_is_scored_by_its_own_engine(lowered: Run) -> None:
    warnings: list[str] = []
    found = scores_of(RunSplits(lowered), exports(lowered), warnings, ignore)
    assert warnings == []
    assert list(found) == [exports(lowered)[1].manifest.digest], "fp32 answers as its network does"
    (block,) = found.values()
    assert block.n == 400
    # images of 200 or 60 of 255 and an eighth of them at 140 and 120: a threshold of 0.62 of 255 = 158 loses the 140s
    assert 0.8 < block.balanced_accuracy < 0.95
    assert block.ci["balanced_accuracy"][0] < block.balanced_accuracy < block.ci["balanced_accuracy"][1]


def test_the_images_of_a_region_are_read_once_for_all_its_exports(
    lowered: Run, workshop: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = lowered.exports_dir / "chest" / "onnx-cpu-generic-fp16"
    options = {"owner": "expert", "region": "chest", "parent": lowered.path, "precision": "fp16"}
    workshop.write_export(place, threshold=0.6, **options)
    seen, read = [], locked_data.read_region
    monkeypatch.setattr(locked_data, "read_region", lambda name, *a, **k: seen.append(name) or read(name, *a, **k))
    assert len(scores_of(RunSplits(lowered), [*exports(lowered), read_exported(place)], [], ignore)) == 2
    assert seen == ["chest"]


def test_it_is_measured_once(lowered: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    first = scores_of(RunSplits(lowered), exports(lowered), [], ignore)
    monkeypatch.setattr(measurements, "_measure", lambda *arguments: pytest.fail("measured again"))
    assert scores_of(RunSplits(lowered), exports(lowered), [], ignore) == first
    assert read_json(lowered.measurements_dir / "exports-test.json", kind="export_scores")["split"] == "test"


def test_without_data_it_has_no_score_and_says_so(lowered: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*arguments: object, **options: object) -> None:
        raise DataError("chest.npz is gone", required="the data", fix="bring it back")

    monkeypatch.setattr(locked_data, "read_region", gone)
    warnings: list[str] = []
    assert scores_of(RunSplits(lowered), exports(lowered), warnings, ignore) == {}
    assert "onnx-cpu-generic-int8 was not measured: a file is gone" in warnings[0]


def test_the_table_tells_whose_score_it_is(measured: Run, workshop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lorkit.export.reporting.document.latencies_of", lambda run, exports, warnings, on_event: {})
    place = measured.exports_dir / "chest" / "onnx-cpu-generic-int8"
    options = {"owner": "expert", "region": "chest", "parent": measured.path, "precision": "int8"}
    workshop.write_export(place, threshold=0.62, **options)
    table = report_document(RunSplits(measured), on_event=ignore).table
    scored = {row.precision: row for row in table if (row.region, row.owner) == ("chest", "expert")}
    assert scored["fp32"].scored == "network"
    assert scored["int8"].scored == "export"
    assert scored["int8"].balanced_accuracy != scored["fp32"].balanced_accuracy


@pytest.mark.parametrize("left", [None, "<svg/>"])
def test_a_report_draws_what_a_killed_bench_did_not(measured: Run, left: str | None) -> None:
    chart, warnings = measured.measurements_dir / "bench.svg", list[str]()
    whole, found = chart.read_bytes(), exports(measured)
    chart.unlink()
    if left is not None:
        chart.write_text(left)
    latencies_of(measured, found, warnings, ignore)
    assert chart.read_bytes() == whole
    chart.unlink()
    chart.mkdir()
    latencies_of(measured, found, warnings, ignore)
    assert warnings == ["The chart of the bench was not kept in the run: Is a directory (measurements/bench.svg)."]
