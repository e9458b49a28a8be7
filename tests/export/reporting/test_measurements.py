from typing import Any

import pytest

from lorkit.decompose.artifacts import read_json, write_json
from lorkit.decompose.documents.evaluate import EvaluateDocument
from lorkit.decompose.errors import DataError
from lorkit.decompose.evaluation import evaluation
from lorkit.decompose.events import ignore
from lorkit.decompose.runs import MODELS, Run, locked_data
from lorkit.export.reporting.document import report_document
from lorkit.export.reporting.measurements import evaluations_of


def test_what_is_missing_is_measured_on_data_read_once(
    a_run: Run, workshop: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, read = [], []

    def evaluate(run: Run, *, model: str, run_splits: object, teacher: object, on_event: object) -> EvaluateDocument:
        asked.append((model, run_splits))
        workshop.write_evaluations(run)
        return EvaluateDocument.read(run.measurements_dir / f"evaluate-{model}-test.json")

    monkeypatch.setattr(evaluation, "evaluate", evaluate)
    monkeypatch.setattr(locked_data, "RunSplits", lambda run: read.append(run) or "the data")
    document = report_document(a_run, on_event=ignore)
    assert asked == [(model, "the data") for model in reversed(MODELS)]
    assert len(read) == 1
    assert all(row["latency"] for row in document["table"])


def test_what_is_measured_needs_no_data(measured: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locked_data, "RunSplits", None)
    warnings: list[str] = []
    assert all(evaluations_of(measured, warnings, ignore).values())
    assert warnings == []


def test_a_measurement_of_another_run_is_not_shown(measured: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    path = measured.measurements_dir / "evaluate-student-test.json"
    write_json(path, {**read_json(path), "run_digest": 64 * "0"})

    def refuse(run: Run) -> None:
        raise DataError("the data is gone")

    monkeypatch.setattr(locked_data, "RunSplits", refuse)
    document = report_document(measured, on_event=ignore)
    assert document["evaluations"]["student"] is None
    assert "student: the data is gone" in document["warnings"][0]
    assert [row["accuracy"] for row in document["table"] if row["owner"] == "student"] == [None, None]
