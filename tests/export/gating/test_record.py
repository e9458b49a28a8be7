"""The record of a run keeps the newest verdict on each region."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from sample_documents import accuracy, gate, measured

from lorkit.decompose.documents.gate import GateDocument, GateRegion
from lorkit.decompose.runs import Run, export_directory
from lorkit.export.gating.record import NAME, read_verdicts, store_verdicts
from lorkit.export.runtime.exported import ExportPair, read_exported


def judged(run: Run, region: str, verdict: str = "pass", **changes: Any) -> GateRegion:
    """A verdict on the exports that are in the run."""
    sides = [
        read_exported(export_directory(run, owner, region, "onnx", "cpu-generic", "fp32"))
        for owner in ("foundation", "expert")
    ]
    return measured(ExportPair(*sides)).with_changes(verdict=verdict, **changes)


def document(regions: dict[str, GateRegion], **changes: Any) -> GateDocument:
    return gate(regions, run_regions=2, **changes)


def test_a_gate_on_one_region_keeps_the_verdict_on_the_other(a_run: Run) -> None:
    store_verdicts(
        a_run, document({"chest": judged(a_run, "chest", "fail")}, verdict="fail", warnings=["region chest: x"])
    )
    knee = document({"knee": judged(a_run, "knee")}, warnings=["region knee: y"])
    assert knee.headline == "PASS for 1 of 2 regions"
    store_verdicts(a_run, knee)
    found = read_verdicts(a_run)
    assert found is not None
    assert (found.verdict, found.headline) == ("fail", "FAIL")
    assert {name: block.verdict for name, block in found.regions.items()} == {"chest": "fail", "knee": "pass"}
    assert list(found.regions) == ["chest", "knee"]
    assert found.warnings == ["region knee: y", "region chest: x"]
    store_verdicts(a_run, document({"chest": judged(a_run, "chest")}))
    again = read_verdicts(a_run)
    assert again is not None
    assert again.verdict == "pass"
    assert again.warnings == ["region knee: y"]


def test_a_verdict_on_replaced_exports_counts_as_inconclusive(a_run: Run, workshop: Any) -> None:
    both = {"chest": judged(a_run, "chest"), "knee": judged(a_run, "knee")}
    store_verdicts(a_run, document(both))
    path = export_directory(a_run, "expert", "chest", "onnx", "cpu-generic", "fp32")
    shutil.rmtree(path)
    gone = read_verdicts(a_run)
    assert gone is not None
    assert (gone.verdict, gone.regions["chest"].stale, gone.regions["knee"].stale) == ("inconclusive", True, False)
    workshop.write_export(path, owner="expert", region="chest", parent=a_run.path, threshold=0.4)
    store_verdicts(a_run, document({"knee": judged(a_run, "knee")}))
    found = GateDocument.read(a_run.measurements_dir / NAME, fix="")
    assert (found.verdict, found.regions["chest"].verdict, found.regions["chest"].stale) == (
        "inconclusive",
        "pass",
        True,
    )
    store_verdicts(a_run, document({"chest": judged(a_run, "chest")}))
    renewed = read_verdicts(a_run)
    assert renewed is not None
    assert renewed.verdict == "pass"


def test_a_baseline_that_lies_elsewhere_is_looked_for_there(a_run: Run, tmp_path: Any) -> None:
    old = export_directory(a_run, "foundation", "chest", "onnx", "cpu-generic", "fp32")
    shutil.copytree(old, tmp_path / "store")
    block = judged(a_run, "chest")
    elsewhere = block.baseline.with_changes(path=str(tmp_path / "store"))
    shutil.rmtree(old)
    store_verdicts(a_run, document({"chest": block.with_changes(baseline=elsewhere)}))
    found = read_verdicts(a_run)
    assert found is not None
    assert found.verdict == "pass"


def test_gates_that_end_together_lose_no_verdict(a_run: Run) -> None:
    with ThreadPoolExecutor(2) as pool:
        for _ in range(8):
            (a_run.measurements_dir / NAME).unlink(missing_ok=True)
            list(pool.map(lambda name: store_verdicts(a_run, document({name: judged(a_run, name)})), ("chest", "knee")))
            found = read_verdicts(a_run)
            assert found is not None
            assert set(found.regions) == {"chest", "knee"}


def test_a_damaged_record_is_replaced_and_said_so(a_run: Run) -> None:
    a_run.measurements_dir.mkdir(exist_ok=True)
    (a_run.measurements_dir / NAME).write_text("{", encoding="utf-8")
    store_verdicts(a_run, document({"chest": judged(a_run, "chest")}))
    found = read_verdicts(a_run)
    assert found is not None
    assert "Earlier verdicts were replaced" in found.warnings[0]


def test_verdicts_that_say_nothing_about_the_run_are_not_kept(a_run: Run) -> None:
    chest = judged(a_run, "chest", "fail")
    itself = chest.with_changes(verdict="pass", baseline=chest.candidate)
    for regions in ({"liver": judged(a_run, "knee")}, {"chest": itself}):
        store_verdicts(a_run, document(regions))
        assert read_verdicts(a_run) is None
    store_verdicts(a_run, document({"chest": chest}, verdict="fail"))
    for regions in ({"liver": judged(a_run, "knee")}, {"chest": itself}):
        store_verdicts(a_run, document(regions))
        found = read_verdicts(a_run)
        assert found is not None
        assert found.regions == {"chest": chest}
    store_verdicts(a_run, document({"chest": itself, "knee": judged(a_run, "knee")}))
    both = read_verdicts(a_run)
    assert both is not None
    assert (both.verdict, both.headline, list(both.regions)) == ("fail", "FAIL", ["chest", "knee"])


def test_the_record_has_the_limits_of_each_region(a_run: Run) -> None:
    strict = judged(a_run, "chest", accuracy_test=accuracy(allowed=0.01))
    store_verdicts(a_run, document({"chest": strict}, max_accuracy_drop=0.01, min_accuracy={"*": 0.7, "knee": 0.6}))
    loose = judged(a_run, "knee", accuracy_test=accuracy(allowed=0.05))
    own = {"max_accuracy_drop": 0.05, "max_accuracy_drops": {"chest": 0.04}, "min_recall": {"*": 0.3}}
    store_verdicts(a_run, document({"knee": loose}, **own))
    found = read_verdicts(a_run)
    assert found is not None
    assert (found.max_accuracy_drop, found.max_accuracy_drops) == (0.05, {"chest": 0.01})
    assert (found.min_accuracy, found.min_recall) == ({"chest": 0.7}, {"*": 0.3})
