from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from lorkit.decompose.artifacts.keys import KEY_FILE
from lorkit.decompose.runs import Run, open_run
from lorkit.decompose.runs.lineage import RunFinder
from lorkit.decompose.runs.locked_data import RunSplits
from lorkit.export.gating.gate_cases import GateCases
from lorkit.export.gating.gating import gate
from lorkit.export.gating.pairing import ExportSelection, GateExports, pair_exports
from lorkit.export.noninferiority.cases import EvaluationCases
from lorkit.export.runtime.exported import ExportPair, read_exported


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
    document = gate(a_run.path, max_seconds=0.1)
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


def test_a_side_whose_key_is_elsewhere_needs_data(workshop: Any, tmp_path: Path, own_keys: None) -> None:
    exports = []
    for name in ("then", "now"):
        run = workshop.write_run(tmp_path / name / "runs" / name, cases=80)
        place = run.path / "exports" / "chest" / "onnx-cpu-generic-fp32"
        workshop.write_export(place, owner="expert", region="chest", parent=run.path)
        exports.append(read_exported(place))
    pair, now = ExportPair(*exports), open_run(tmp_path / "now" / "runs" / "now")
    found = GateCases(now, RunFinder(), None).of(pair)
    assert isinstance(found, EvaluationCases)
    _, _, about = found.prepare(pair)
    assert (about.unknown, about.excluded["baseline"], about.n) == ([], 0, 40)  # the same data, so the same parts
    data = tmp_path / "now" / "runs" / "chest.npz"
    _, _, about = GateCases(now, RunFinder(), data).of(pair).prepare(pair)  # type: ignore[union-attr]
    assert (about.excluded, about.n) == ({"baseline": 40, "candidate": 40, "same_patients": 0}, 40)

    (tmp_path / "then" / "runs" / KEY_FILE).unlink()
    said = GateCases(now, RunFinder(), None).of(pair)
    assert isinstance(said, str)
    assert said.startswith("the training cases of the baseline (chest) are known by a key that is not beside its run")
    assert "--data" in said
    _, _, about = GateCases(now, RunFinder(), data).of(pair).prepare(pair)  # type: ignore[union-attr]
    assert (about.unknown, about.excluded["baseline"]) == (["baseline"], 0)

    (tmp_path / "now" / "runs" / KEY_FILE).unlink()
    said = GateCases(now, RunFinder(), None).of(pair)
    assert isinstance(said, str)
    assert said.startswith("the locked test split cannot be read (the cases of region 'chest' are known by another key")
    assert "--data" in said
