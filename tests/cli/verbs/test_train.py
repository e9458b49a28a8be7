"""`train`, with `--from` as well, as a shell sees it: what arrives, what is printed, which exit code."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import lorkit.decompose
from lorkit.decompose.artifacts import write_json, write_manifest
from lorkit.decompose.documents.training import Plan
from lorkit.decompose.training.new_run import TrainResult


def test_options_arrive_and_results_leave(check_verb: Callable[..., Any]) -> None:
    words = ["train", "--out", "there", "--resume", "--set", "train.epochs=3", "--method", "mtl"]
    check_verb(
        words,
        TrainResult(run=Path("there/x"), regions=("chest",)),
        options={"out": Path("there"), "resume": True, "force": False, "dry_run": False},
        stdout="there/x\n",
    )


def test_train_says_up_to_date_and_shows_a_plan(decompose: Callable[..., Any], record: Callable[..., Any]) -> None:
    recorder = record("train", TrainResult(run=Path("r"), up_to_date=True, regions=("chest",)))
    assert "up to date: chest" in decompose("train").stderr
    network = {
        "backbone": "resnet18",
        "parameters": 11,
        "macs": 22,
        "weights": None,
        "weights_match": None,
    }
    plan = {
        "method": "lorkd",
        "of_nodes": False,
        "input_shape": [3, 64, 64],
        "regions": {"chest": {"train": 4, "val": 2, "test": 1}},
        "foundation": network | {"input_shape": [3, 64, 64], "epochs": 3, "steps_per_epoch": 2},
        "student": network,
        "phases": [{"region_names": ["chest"], "epochs": 3, "steps_per_epoch": 2}],
        "epochs": 3,
        "batch_size": 8,
        "training_parameters": 12,
        "expert_layers": [
            {
                "name": "conv1",
                "weight": [8, 3, 3, 3],
                "rank": 4,
                "strategy": "taps",
                "macs": 99,
                "overhead": 0.125,
                "parameters": 5,
            }
        ],
        "expert_mac_overhead": 0.125,
        "layers_without_experts": [["conv2", "not selected"]],
        "rehearsal": None,
        "routing": None,
        "teacher_cache": None,
    }
    recorder.result = TrainResult(run=Path("r"), plan=Plan.model_validate(plan))
    outcome = decompose("train", "--dry-run")
    assert "lorkd: 3 epochs, batch 8, 12 parameters to train, 1 expert layer" in outcome.stdout
    assert "8x3x3x3" in outcome.stdout
    assert "experts add 12.5% to the multiply-accumulates" in outcome.stdout
    assert "no experts in conv2: not selected" in outcome.stdout
    assert "12 parameters" not in outcome.stderr


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What `train_from` was called with; it answers with a run."""
    seen: dict[str, Any] = {}

    def train_from(source: object, config: object, **options: Any) -> TrainResult:
        seen.update(options, source=source, config=config)
        return TrainResult(run=Path("runs/new"), regions=("chest", "wrist"))

    monkeypatch.setattr(lorkit.decompose, "train_from", train_from, raising=False)
    return seen


def test_options_arrive(decompose: Callable[..., Any], asked: dict[str, Any]) -> None:
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
    decompose: Callable[..., Any], asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert decompose("train", "--from", "old", "--add-region", "wrist", "--tensorboard").code == 0
    assert asked["tensorboard"] is True
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "tensorboard" else found(name))
    outcome = decompose("train", "--tensorboard")
    assert outcome.code == 5
    required = "required: the extra 'tensorboard'; pip install \"lorkit[tensorboard]\""
    assert (
        outcome.stderr.splitlines(keepends=True)[-1]
        == f"error: --tensorboard needs tensorboard, which is not installed; {required}\n"
    )
    assert not list(tmp_path.iterdir()), "before anything is read, trained or written"


def test_a_run_without_curves_says_so_when_it_is_up_to_date(
    decompose: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    result = TrainResult(run=Path("runs/old"), up_to_date=True, regions=("chest",))
    monkeypatch.setattr(lorkit.decompose, "train", lambda config, **options: result, raising=False)
    line = "note: runs/old was trained without --tensorboard; --force trains it again\n"
    assert line in decompose("train", "--tensorboard").stderr
    assert line not in decompose("train").stderr
    Path("runs/old/tensorboard").mkdir(parents=True)
    assert line not in decompose("train", "--tensorboard").stderr


def test_a_removal_and_a_fine_tuning(decompose: Callable[..., Any], asked: dict[str, Any]) -> None:
    outcome = decompose("train", "--from", "old", "--remove-region", "knee", "--json")
    assert outcome.document["kind"] == "train"
    assert outcome.document["region_names"] == ["chest", "wrist"]
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
    decompose: Callable[..., Any], tmp_path: Path, words: list[str], code: int, message: str
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


def test_built_in_phantoms_are_named_in_the_first_line(
    decompose: Callable[..., Any], record: Callable[..., Any], tmp_path: Path
) -> None:
    record("train", TrainResult(run=Path("r"), up_to_date=True, regions=("chest",)))
    assert decompose("train").stderr.startswith("no decompose.yaml here: built-in phantoms are used")
    assert decompose("init").code == 0
    assert "phantom" not in decompose("train").stderr


@pytest.mark.parametrize(
    "words",
    ["train --method lorkdd", "compare --methods nix", "compare --split x", "pretrain --set train.epochs=x"],
)
def test_a_command_that_is_refused_does_not_speak_of_phantoms(decompose: Callable[..., Any], words: str) -> None:
    outcome = decompose(*words.split())
    assert outcome.code == 2
    assert outcome.stderr.startswith("error:"), outcome.stderr
