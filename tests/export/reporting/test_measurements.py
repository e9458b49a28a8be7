from typing import Any

import pytest

from lorkit.decompose.artifacts import read_json, write_json
from lorkit.decompose.documents.evaluate import EvaluateDocument
from lorkit.decompose.errors import DataError
from lorkit.decompose.events import ignore
from lorkit.decompose.runs import MODELS, Run, locked_data
from lorkit.decompose.runs.locked_data import RunSplits
from lorkit.export.reporting import measurements
from lorkit.export.reporting.document import report_document
from lorkit.export.reporting.measurements import evaluations_of


def test_what_is_missing_is_measured_on_data_read_once(
    a_run: Run, workshop: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, splits = [], RunSplits(a_run)

    def evaluate(run: Run, *, model: str, run_splits: object, teacher: object, on_event: object) -> EvaluateDocument:
        asked.append((model, run_splits))
        workshop.write_evaluations(run)
        return EvaluateDocument.read(run.measurements_dir / f"evaluate-{model}-test.json")

    monkeypatch.setattr(measurements, "evaluate", evaluate)
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
    write_json(path, {**read_json(path), "run_digest": 64 * "0"})

    def refuse(*arguments: object, **options: object) -> None:
        raise DataError("the data is gone")

    monkeypatch.setattr(locked_data, "read_region", refuse)
    document = report_document(RunSplits(measured), on_event=ignore)
    assert document.evaluations.student is None
    assert "student: the data is gone" in document.warnings[0]
    assert [row.accuracy for row in document.table if row.owner == "student"] == [None, None]
