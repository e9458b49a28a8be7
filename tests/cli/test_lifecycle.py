"""`train --from` and `extract --rank` as a shell sees them: what arrives, what is printed, which exit code."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import lorkit.decompose
from lorkit.decompose.artifacts import write_json, write_manifest
from lorkit.decompose.extraction.extraction import ExtractResult
from lorkit.decompose.training.training import TrainResult

Decompose = Callable[..., Any]
REDUCTION = {
    "rank": 2,
    "rank_before": 8,
    "factor_parameters": {"before": 4000, "after": 1000},
    "energy_kept": 0.875,
    "validation": {"before": 0.9, "after": 0.85, "drop": 0.05, "ci": [0.01, 0.09]},
}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What `train_from` was called with; it answers with a run."""
    seen: dict[str, Any] = {}

    def train_from(source: object, config: object, **options: Any) -> TrainResult:
        seen.update(options, source=source, config=config)
        return TrainResult(run=Path("runs/new"), regions=("chest", "wrist"))

    monkeypatch.setattr(lorkit.decompose, "train_from", train_from, raising=False)
    return seen


def test_options_arrive(decompose: Decompose, asked: dict[str, Any]) -> None:
    words = [
        "--from",
        "old",
        "--add-region",
        "wrist",
        "--set",
        "regions.wrist.data=w.npz",
        "--resume",
        "--out",
        "there",
    ]
    outcome = decompose("train", *words)
    assert (outcome.code, outcome.stdout) == (0, "runs/new\n"), outcome.stderr
    assert "trained: chest, wrist" in outcome.stderr
    expected = {
        "source": "old",
        "config": None,
        "add_region": "wrist",
        "remove_region": None,
        "overrides": ["regions.wrist.data=w.npz"],
        "method": None,
        "resume": True,
        "force": False,
        "dry_run": False,
        "tensorboard": False,
        "out": Path("there"),
    }
    assert expected.items() <= asked.items()


def test_curves_are_asked_for_by_name_and_missed_aloud(
    decompose: Decompose, asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert decompose("train", "--from", "old", "--add-region", "wrist", "--tensorboard").code == 0
    assert asked["tensorboard"] is True
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "tensorboard" else found(name))
    outcome = decompose("train", "--tensorboard")
    assert outcome.code == 5
    required = "required: the extra 'tensorboard'; pip install \"lorkit[tensorboard]\""
    assert outcome.stderr == f"error: --tensorboard needs tensorboard, which is not installed; {required}\n"
    assert not list(tmp_path.iterdir()), "before anything is read, trained or written"


def test_a_run_without_curves_says_so_when_it_is_up_to_date(
    decompose: Decompose, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = TrainResult(run=Path("runs/old"), up_to_date=True, regions=("chest",))
    monkeypatch.setattr(lorkit.decompose, "train", lambda config, **options: result, raising=False)
    line = "note: runs/old was trained without --tensorboard; --force trains it again\n"
    assert line in decompose("train", "--tensorboard").stderr
    assert line not in decompose("train").stderr
    Path("runs/old/tensorboard").mkdir(parents=True)
    assert line not in decompose("train", "--tensorboard").stderr


def test_a_removal_and_a_fine_tuning(decompose: Decompose, asked: dict[str, Any]) -> None:
    outcome = decompose("train", "--from", "old", "--remove-region", "knee", "--json")
    assert outcome.document["kind"] == "train"
    assert outcome.document["regions"] == ["chest", "wrist"]
    assert (asked["remove_region"], asked["overrides"]) == ("knee", ())
    assert "written: chest, wrist" in decompose("train", "--from", "old", "--remove-region", "knee").stderr
    decompose("train", "mine.yaml", "--method", "finetune", "--from", "runs/x/experts/chest")
    assert (asked["config"], asked["method"]) == (Path("mine.yaml"), "finetune")
    assert asked["source"] == "runs/x/experts/chest"


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--add-region", "wrist"], 2, "--add-region without --from"),
        (["--remove-region", "wrist"], 2, "--remove-region without --from"),
        (["--from", "absent", "--add-region", "wrist"], 2, "unknown run 'absent'"),
        (["--from", "absent", "--remove-region", "wrist"], 2, "unknown run 'absent'"),
        (["--from", "absent", "--method", "finetune"], 2, "no expert at absent"),
        (["--from", "other", "--remove-region", "wrist"], 4, "kind 'report'"),
        (["--from", "other", "--method", "finetune"], 4, "kind 'report'"),
        (["--from", "other", "--add-region", "x", "--remove-region", "y"], 2, "together"),
        (["--from", "other"], 2, "--method finetune"),
    ],
)
def test_errors_are_one_line_with_their_code(
    decompose: Decompose, tmp_path: Path, words: list[str], code: int, message: str
) -> None:
    (tmp_path / "other").mkdir()
    write_json(tmp_path / "other" / "x.json", {})
    write_manifest(tmp_path / "other", "report", synthetic=False)
    outcome = decompose("train", *words)
    assert outcome.code == code, outcome.stderr
    assert message in outcome.stderr
    (line,) = [line for line in outcome.stderr.splitlines() if line.startswith("error:")]
    assert "required:" in line
    assert outcome.stdout == ""


def test_a_cut_is_shown(decompose: Decompose, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}

    def extract(run: object, **options: Any) -> list[ExtractResult]:
        seen.update(options)
        one = ExtractResult(
            region="chest", path=Path("e"), up_to_date=False, max_difference=1e-6, reduction=dict(REDUCTION)
        )
        return [one]

    monkeypatch.setattr(lorkit.decompose, "extract", extract, raising=False)
    outcome = decompose("extract", "--rank", "2")
    assert (outcome.code, outcome.stdout, seen["rank"]) == (0, "e\n", 2)
    for part in ("rank 8 to 2", "87.5 %", "0.900 to 0.850", "0.050 [0.010, 0.090]", "4,000 to 1,000 parameters"):
        assert part in outcome.stderr
    (row,) = decompose("extract", "--rank", "2", "--json").document["experts"]
    assert row["reduction"] == REDUCTION
