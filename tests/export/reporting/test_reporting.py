import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from lorkit.decompose.artifacts import read_json, read_manifest
from lorkit.decompose.errors import UsageError
from lorkit.decompose.runs import Run, locked_data
from lorkit.export.gating.gating import gate
from lorkit.export.reporting import document as document_module
from lorkit.export.reporting.reporting import report

SCHEMAS = Path(__file__).parents[3] / "docs" / "schemas"


def read(paths: list[Path]) -> tuple[str, str, dict[str, Any]]:
    return paths[0].read_text("utf-8"), paths[1].read_text("utf-8"), read_json(paths[2], kind="report")


def test_a_report_without_a_gate_tells_how_to_run_one(measured: Run) -> None:
    paths = report().files
    assert [path.name for path in paths] == ["report.html", "report.md", "report.json"]
    html, markdown, document = read(paths)
    for text in (html, markdown):
        assert "The gate has not run yet" in text
        assert "decompose gate --run by-hand" in text
    assert "SYNTHETIC" in html
    assert "SYNTHETIC" in markdown
    assert "Not a diagnostic device" in html
    assert document["run_info"]["id"] == "by-hand"
    manifest = read_manifest(measured.report_dir, kind="report")
    assert manifest.synthetic
    assert manifest.parent is not None
    assert manifest.parent["sha256"] == measured.manifest.digest


def test_an_unchanged_report_is_kept_and_a_gate_renews_it(measured: Run) -> None:
    first = report().files[0].stat().st_mtime_ns
    again = report()
    assert again.up_to_date
    assert again.files[0].stat().st_mtime_ns == first
    assert report(force=True).files[0].stat().st_mtime_ns != first
    gate(max_seconds=30.0, max_accuracy_drop=0.05)
    html, markdown, document = read(report().files)
    assert document["gate"]["verdict"] == "pass"
    assert 'class="badge pass">PASS<' in html
    assert markdown.startswith("## Gate: PASS · by-hand")
    assert html.index('id="verdicts"') < html.index('id="trade"')


def test_documents_of_a_run_are_as_published(full_report: Path) -> None:
    measurements = full_report.parent / "measurements"
    paths = [full_report / "report.json", *(measurements / name for name in ("gate.json", "bench.json"))]
    paths += sorted(measurements.glob("evaluate-*.json"))
    assert len(paths) == 6
    for path in paths:
        document = read_json(path)
        text = (SCHEMAS / f"{document['kind']}.schema.json").read_text("utf-8")
        validator = Draft202012Validator(json.loads(text))
        assert [error.message for error in validator.iter_errors(document)] == []
        assert list(validator.iter_errors(document | {"extra": 1}))


def test_a_run_against_itself_is_refused(measured: Run) -> None:
    with pytest.raises(UsageError, match="against itself"):
        report("by-hand", against="by-hand")


def test_images_are_read_once_for_all_that_is_measured(
    measured: Run, tmp_path: Path, workshop: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    older = workshop.write_run(tmp_path / "runs" / "older", regions=("chest",))
    workshop.write_evaluations(workshop.fill_run(older))
    place = measured.exports_dir / "chest" / "onnx-cpu-generic-int8"
    workshop.write_export(place, owner="expert", region="chest", parent=measured.path, precision="int8")
    monkeypatch.setattr(document_module, "latencies_of", lambda run, exports, warnings, on_event: {})
    seen, read = [], locked_data.read_region
    monkeypatch.setattr(locked_data, "read_region", lambda name, *a, **k: seen.append(name) or read(name, *a, **k))
    document = read_json(report(measured.path, against=older.path).files[2], kind="report")
    (row,) = document["changes_since"]["rows"]
    assert row["paired"]["n"] == 400, "measured on the images"
    assert "export" in {row["scored"] for row in document["table"]}, "this too"
    assert seen == ["chest"]


def test_what_changed_stands_in_all_three(measured: Run, tmp_path: Path, workshop: Any) -> None:
    other = workshop.write_run(tmp_path / "runs" / "older", regions=("chest",), cases=80)
    workshop.write_evaluations(other, cases=40)
    html, markdown, document = read(report("by-hand", against="older").files)
    assert [row["region"] for row in document["changes_since"]["rows"]] == ["chest"]
    assert "What changed since older" in html
    assert "### Since older" in markdown
    assert "decompose report --run by-hand --against older" in markdown
    assert "against" not in read(report("by-hand").files)[2], "a report without it replaces one with it"
