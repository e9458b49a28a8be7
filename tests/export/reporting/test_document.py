import json
from copy import copy
from pathlib import Path
from typing import Any

import pytest
from sample_documents import gate, latency, region

from lorkit.decompose.artifacts import write_manifest
from lorkit.decompose.documents.report_row import ReportRow
from lorkit.decompose.errors import ArtifactError
from lorkit.decompose.events import ignore
from lorkit.decompose.runs import OUTSIDE, Run, open_run
from lorkit.decompose.runs.locked_data import RunSplits
from lorkit.export.reporting.document import report_document, savings_of


def test_everything_known_is_in_one_document(measured: Run) -> None:
    document = report_document(RunSplits(measured), on_event=ignore)
    json.dumps(document.to_json(), allow_nan=False)
    assert [(row.region, row.owner) for row in document.table] == [
        (region, owner) for region in ("chest", "knee") for owner in ("foundation", "student", "expert")
    ]
    row = document.table[2]
    assert row.path == "exports/chest/onnx-cpu-generic-fp32"
    assert row.latency is not None
    assert row.latency.median_ms > 0
    assert row.balanced_accuracy is not None
    assert document.summary["size_bytes"] is not None
    assert document.summary["size_bytes"][0] > 1
    assert document.gate is None
    assert next(iter(document.regions.values())).cases == {"train": 200, "val": 200, "test": 400}
    assert {link.kind for link in document.chain} == {"run", "export"}
    assert document.chain[1].parent == measured.manifest.digest
    assert document.warnings == []
    assert next(iter(document.regions.values())).spacing is None


def test_the_spacing_of_windows_is_stated(measured: Run) -> None:
    regions = dict(measured.config.regions)
    regions["knee"] = regions["knee"].model_copy(update={"spacing": (0.8, 1.0, 2.5)})
    run = copy(measured)
    vars(run)["config"] = measured.config.model_copy(update={"regions": regions})
    document = report_document(RunSplits(run), on_event=ignore)
    assert {name: row.spacing for name, row in document.regions.items()} == {"chest": None, "knee": [0.8, 1.0, 2.5]}


def test_a_gate_of_replaced_exports_is_stale(measured: Run) -> None:
    samples = {name: [1.0] for name in ("baseline", "candidate", "control")}
    judged = gate({"chest": region(latency_test=latency(timings_ms=samples))}, margin=0.5, max_accuracy_drop=0.25)
    judged.write(measured.measurements_dir / "gate.json")
    document = report_document(RunSplits(measured), on_event=ignore)
    assert document.gate is not None
    assert document.gate.stale
    (block,) = document.gate.regions.values()
    assert block.stale
    assert document.gate.verdict == "inconclusive"
    assert block.with_changes(stale=False) == judged.regions["chest"]
    assert "decompose gate --run by-hand --margin 0.5 --max-accuracy-drop 0.25 --seed 0" in document.commands


def test_exports_of_a_replaced_run_are_refused(measured: Run, workshop: Any) -> None:
    write_manifest(measured.path, "run", synthetic=True, outside=OUTSIDE)
    workshop.write_evaluations(open_run(measured.path))
    with pytest.raises(ArtifactError, match=r"is not the run that .*exports/chest/onnx-cpu-generic-fp32 was made from"):
        report_document(RunSplits(open_run(measured.path)), on_event=ignore)


def test_savings_are_ranges_over_regions_and_leave_out_what_is_missing() -> None:
    def row(region: str, owner: str, size: int | None) -> ReportRow:
        empty = dict.fromkeys(ReportRow.model_fields) | {"ci": {}, "commands": [], "digest": 64 * "0"}
        return ReportRow.model_validate(empty | {"region": region, "owner": owner, "size_bytes": size})

    rows = [row("a", "foundation", 8), row("a", "expert", 1), row("b", "foundation", 2), row("b", "expert", 1)]
    found = savings_of(rows)
    assert found["size_bytes"] == (2, 8)
    assert found["latency"] is None
    assert set(savings_of([]).values()) == {None}


def test_a_run_without_exports_says_so(tmp_path: Path, workshop: Any) -> None:
    run = workshop.write_run(tmp_path / "runs" / "bare", cases=80)
    workshop.write_evaluations(run, cases=40)
    document = report_document(RunSplits(run), on_event=ignore)
    assert "Nothing is exported yet" in document.warnings[0]
    assert document.table[0].size_bytes is None
