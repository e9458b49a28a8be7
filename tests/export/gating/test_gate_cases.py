from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from lorkit.decompose.runs import Run, open_run
from lorkit.decompose.runs.lineage import RunFinder
from lorkit.decompose.runs.locked_data import RunSplits
from lorkit.export.gating.gate_cases import GateCases
from lorkit.export.gating.gating import gate
from lorkit.export.gating.pairing import ExportSelection, GateExports, pair_exports
from lorkit.export.noninferiority.cases import EvaluationCases


def test_a_gate_opens_its_run_once_and_reads_its_splits_once_for_all_regions(
    a_run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: Counter[Path] = Counter()
    splits: list[Run] = []
    begin = RunSplits.__init__

    def counted(selector: Any = None, *root: Path) -> Run:
        run = open_run(selector, *root)
        opened[run.path.resolve()] += 1
        return run

    def read(self: RunSplits, run: Run, region: str | None = None) -> None:
        splits.append(run)
        begin(self, run, region)

    for module in ("decompose.runs.store", "decompose.runs", "decompose.runs.lineage", "export.gating.gating"):
        monkeypatch.setattr(f"lorkit.{module}.open_run", counted, raising=False)
    monkeypatch.setattr(RunSplits, "__init__", read)
    document = gate(a_run.path, max_seconds=5.0)
    assert list(document.regions) == ["chest", "knee"]
    assert opened == {a_run.path.resolve(): 1}
    assert len(splits) == 1


def test_where_there_are_no_cases_it_says_why(a_run: Run) -> None:
    pair = pair_exports(GateExports(a_run, ExportSelection()))[0]
    assert isinstance(GateCases(a_run, RunFinder(), None).of(pair), EvaluationCases)
    assert GateCases(None, RunFinder(), None).of(pair) == "there is neither --data nor a run with a locked test split"
    for path in a_run.config.regions[pair.region].data or ():
        shutil.move(path, f"{path}.gone")
    said = GateCases(a_run, RunFinder(), None).of(pair)
    assert isinstance(said, str)
    assert said.startswith("the locked test split cannot be read (")
    for path in a_run.config.regions[pair.region].data or ():
        shutil.move(f"{path}.gone", path)
