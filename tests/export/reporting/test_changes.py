from pathlib import Path
from typing import Any

import pytest
import yaml

from lorkit.decompose.artifacts import write_json, write_manifest
from lorkit.decompose.artifacts.keys import KEY_FILE, DirectoryKey
from lorkit.decompose.data import read_regions, split_regions
from lorkit.decompose.documents.changes import Changes, ThenNow
from lorkit.decompose.events import ignore
from lorkit.decompose.runs import OUTSIDE, Run, open_run
from lorkit.decompose.runs.locked_data import RunSplits
from lorkit.export.reporting import changes as module
from lorkit.export.reporting.changes import _judged_export, _PairedComparisons, changes
from lorkit.export.reporting.document import report_document


def compare(home: Run, other: Run) -> Changes:
    now, then = RunSplits(home), RunSplits(other)
    documents = [report_document(splits, on_event=ignore) for splits in (now, then)]
    return changes(now, then, documents[0], documents[1], ignore)


@pytest.fixture
def pair(tmp_path: Path, workshop: Any, monkeypatch: pytest.MonkeyPatch) -> tuple[Run, Run]:
    """Two runs over the same cases whose experts differ: the older one calls fewer images bright."""
    monkeypatch.setattr("lorkit.export.reporting.document.latencies_of", lambda run, exports, warnings, on_event: {})
    runs = []
    for name, threshold in (("now", 0.5), ("then", 0.62)):
        run = workshop.write_run(tmp_path / name / "runs" / name, regions=("chest",), cases=400)
        workshop.write_evaluations(run, cases=40)
        place = run.path / "exports" / "chest" / "onnx-cpu-generic-fp32"
        workshop.write_export(place, owner="expert", region="chest", parent=run.path, threshold=threshold)
        runs.append(open_run(run.path))
    return runs[0], runs[1]


def test_experts_are_compared_on_the_same_cases(pair: tuple[Run, Run]) -> None:
    (row,) = compare(*pair).rows
    paired = row.paired
    assert row.unpaired == ""
    assert paired is not None
    assert paired.n == 200
    assert paired.now > paired.then
    assert paired.change == pytest.approx(paired.now - paired.then)
    assert paired.ci[0] <= paired.change <= paired.ci[1]
    assert paired.ci[0] > 0, "better, and not by chance"
    assert paired.label_flips
    assert "flip_rate" not in paired.to_json(), "of masks only"
    assert row.then.digest != row.now.digest


def test_a_comparison_is_measured_once(pair: tuple[Run, Run], monkeypatch: pytest.MonkeyPatch) -> None:
    first = compare(*pair)
    monkeypatch.setattr(module, "_measure", lambda *arguments: pytest.fail("measured again"))
    assert compare(*pair) == first


def test_other_test_cases_give_no_interval(pair: tuple[Run, Run], workshop: Any, tmp_path: Path) -> None:
    """The older run may have been trained on cases that the newer one holds back."""
    other = workshop.write_run(tmp_path / "other" / "runs" / "other", regions=("chest",), cases=80)
    workshop.write_evaluations(other, cases=40)
    place = other.path / "exports" / "chest" / "onnx-cpu-generic-fp32"
    workshop.write_export(place, owner="expert", region="chest", parent=other.path)
    row = compare(pair[0], open_run(other.path)).rows[0]
    assert row.paired is None
    assert row.unpaired == "the runs have different test splits"


def test_runs_of_two_keys_are_not_paired(pair: tuple[Run, Run], own_keys: None) -> None:
    """Their keyed digests differ, which says nothing about their cases."""
    for run in pair:
        (run.path.parent / KEY_FILE).unlink()
        key = DirectoryKey(run.path.parent, create=True)
        samples = read_regions(run.config)
        write_json(run.path / "splits.json", split_regions(samples, run.config.split, seed=0).to_json(samples, key))
        write_manifest(run.path, "run", synthetic=True, outside=OUTSIDE)
    runs = [open_run(run.path) for run in pair]
    home, other = (RunSplits(run) for run in runs)
    found = _PairedComparisons(home, other).compare("chest", *(_judged_export(run, "chest") for run in runs))
    assert found == (None, "the test cases of the runs are known by other keys: compare them by `gate --data`")


def test_settings_and_regions_that_differ_are_named(tmp_path: Path, workshop: Any, measured: Run) -> None:
    other = workshop.write_run(tmp_path / "runs" / "older", regions=("chest",), cases=80)
    workshop.write_evaluations(other, cases=40)
    path = other.path / "config.yaml"
    settings = yaml.safe_load(path.read_text())
    settings["train"]["epochs"], settings["seed"] = 3, 7
    path.write_text(yaml.safe_dump(settings), encoding="utf-8")
    write_manifest(other.path, "run", synthetic=True, outside=OUTSIDE)
    workshop.write_evaluations(open_run(other.path), cases=40)
    found = compare(measured, open_run(other.path))
    assert {row.key: row.then for row in found.settings} == {"seed": 7, "train.epochs": 3}
    assert found.only_now == ["knee"]
    assert found.only_then == []
    assert found.verdicts == ThenNow(then=None, now=None)
    assert found.rows[0].unpaired == "not exported in both runs"
