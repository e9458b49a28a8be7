"""A report's document with everything in it, made once: pages are drawn from the document alone."""

from __future__ import annotations

import copy
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lorkit.decompose.artifacts import read_json
from lorkit.decompose.documents.bench import BenchDocument
from lorkit.decompose.runs import Run, export_directory, exports_of, open_run
from lorkit.export.gating.gating import gate
from lorkit.export.reporting.reporting import report
from lorkit.export.runtime.exported import read_exported

CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
)


@pytest.fixture(scope="package")
def browser() -> Iterator[Any]:
    """A headless Chromium for all tests of pages: a start takes seconds."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: no browser is driven")
    if CHROMIUM is None:
        pytest.skip("no Chromium here: the page is not opened in a browser")
    with sync_api.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


def lend_latencies(run: Run, other: Run) -> None:
    """Give each export of a run the latency of one that was timed: timing all of them again takes ten seconds."""
    document = BenchDocument.read(run.measurements_dir / "bench.json")
    timed = document.exports[0]
    exports = [read_exported(entry.path) for entry in exports_of(other)]
    known = {row.digest: row for row in document.exports}
    rows = [known.get(one.manifest.digest) or timed.with_changes(**dict(one.describe())) for one in exports]
    document.with_changes(exports=rows).write(other.measurements_dir / "bench.json", sealed=True)


@pytest.fixture(scope="session")
def full_report(measured_run: Path, workshop_once: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of a run with a lower precision, a gate and an older run; never write into it."""
    root = tmp_path_factory.mktemp("full")
    shutil.copytree(measured_run, root / "runs" / "by-hand")
    run = open_run(root / "runs" / "by-hand")
    place = export_directory(run, "expert", "chest", "onnx", "cpu-generic", "int8")
    workshop_once.write_export(place, owner="expert", region="chest", parent=run.path, precision="int8", threshold=0.55)
    older = workshop_once.write_run(root / "runs" / "older", regions=("chest",))
    workshop_once.write_evaluations(workshop_once.fill_run(older))
    before = Path.cwd()
    os.chdir(root)
    try:
        for one in (run, older):
            lend_latencies(run, one)
        gate(run.path, max_seconds=4.0, max_accuracy_drop=0.05)
        report(run.path, against=older.path)
    finally:
        os.chdir(before)
    return run.report_dir


@pytest.fixture
def document(full_report: Path) -> dict[str, Any]:
    """What the full report was drawn from, to be changed at will."""
    return copy.deepcopy(read_json(full_report / "report.json", kind="report"))


@pytest.fixture
def html(full_report: Path) -> str:
    """The full page."""
    return (full_report / "report.html").read_text(encoding="utf-8")
