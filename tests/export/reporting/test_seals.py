"""Stored measurements that somebody edits are refused by everyone that shows them, or replaced and that said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from resealing import edit_json

from lorkit.decompose.errors import ArtifactError
from lorkit.decompose.events import ignore
from lorkit.decompose.runs import Run
from lorkit.decompose.runs.locked_data import RunSplits
from lorkit.export.benchmarking.benchmark import bench
from lorkit.export.gating.gating import gate
from lorkit.export.gating.record import read_verdicts
from lorkit.export.reporting.document import report_document


def _numbers(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the places of all numbers in a document."""
    if isinstance(value, dict | list):
        each = value.items() if isinstance(value, dict) else enumerate(value)
        return [place for key, inner in each for place in _numbers(inner, (*path, key))]
    return [path] if isinstance(value, int | float) and not isinstance(value, bool) else []


def _change(document: dict[str, Any], place: tuple[Any, ...]) -> None:
    for key in place[:-1]:
        document = document[key]
    document[place[-1]] += 1


def test_what_is_measured_is_sealed_and_the_report_has_no_warning_of_it(measured: Run) -> None:
    gate(measured.path, region="knee", max_seconds=0.1)
    files = sorted(measured.measurements_dir.glob("*.json"))
    assert {path.name for path in files} >= {"bench.json", "gate.json", "evaluate-experts-test.json"}
    assert all(len(json.loads(path.read_text())["seal"]) == 64 for path in files)
    assert not any("seal" in text for text in report_document(RunSplits(measured), on_event=ignore).warnings)


@pytest.mark.parametrize("name", ["evaluate-experts-test.json", "evaluate-foundation-test.json", "bench.json"])
def test_an_edited_measurement_is_refused(measured: Run, name: str) -> None:
    path = measured.measurements_dir / name
    plain = path.read_text()
    places = _numbers(json.loads(plain))
    for place in places[:: max(1, len(places) // 6)]:
        path.write_text(plain)
        edit_json(path, lambda document, place=place: _change(document, place))
        with pytest.raises(ArtifactError, match="was changed after it was measured"):
            report_document(RunSplits(measured), on_event=ignore)


def test_a_measurement_without_a_seal_is_marked(measured: Run) -> None:
    path = measured.measurements_dir / "evaluate-student-test.json"
    edit_json(path, lambda document: document.pop("seal"))
    document = report_document(RunSplits(measured), on_event=ignore)
    assert any(text.startswith("evaluate-student-test.json has no seal") for text in document.warnings)


def test_an_edited_record_is_replaced_by_what_is_measured_now(measured: Run) -> None:
    path = measured.measurements_dir / "gate.json"
    gate(measured.path, region="knee", max_seconds=0.1)
    edit_json(path, lambda document: document.update(verdict="pass", created="2000-01-01T00:00:00+00:00"))
    with pytest.raises(ArtifactError, match="was changed after it was measured"):
        read_verdicts(measured)
    gate(measured.path, region="chest", max_seconds=0.1)
    assert "Earlier verdicts were replaced" in " ".join(getattr(read_verdicts(measured), "warnings", ()))
    timed = measured.measurements_dir / "bench.json"
    edit_json(timed, lambda document: document["exports"][0].update(median_ms=0.001))
    bench(run=measured.path, region="chest", samples=2, max_seconds=0.1)
    assert "Earlier rows were replaced" in " ".join(json.loads(timed.read_text())["warnings"])
    assert Path(timed).is_file()
