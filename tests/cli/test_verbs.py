"""Each verb hands its options to the function of its name, prints results on stdout, and one JSON document for --json.

The functions are replaced here: what they do has tests of its own, and tests/test_docs.py runs the real ones.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import lorkit.decompose
import lorkit.export
from lorkit.decompose.extraction.extraction import ExtractResult
from lorkit.decompose.training.training import TrainResult
from lorkit.export.reporting.reporting import ReportResult

PARITY = {"status": "passed", "max_abs": 1e-6}
EVALUATION = {
    "schema_version": 1,
    "kind": "evaluate",
    "warnings": ["few cases"],
    "synthetic": True,
    "model": "experts",
    "split": "test",
    "regions": {"chest": {"n": 12, "accuracy": 0.5, "balanced_accuracy": 0.5, "auroc": None, "ece": 0.1, "ci": {}}},
    "mean": {"accuracy": 0.5, "balanced_accuracy": 0.5, "auroc": None, "ece": 0.1},
}
COSTS = {"parameters": 10, "macs": 20, "deployed_bytes": 40}
COMPARISON = {
    "id": "small-1234",
    "split": "val",
    "metric": "balanced_accuracy",
    "rows": [{"label": "mtl", "regions": {"chest": {"balanced_accuracy": 0.75}}}],
    "table": [
        {
            "label": "mtl",
            "fraction": 1.0,
            "seeds": 2,
            "balanced_accuracy": 0.75,
            "ci": [0.7, 0.8],
            "sd": 0.01,
            "regions": {"chest": 0.75},
            "train_seconds": 1.5,
            **COSTS,
        }
    ],
    "pairs": [
        {
            "baseline": "foundation",
            "candidate": "mtl",
            "fraction": 1.0,
            "mean": {"drop": 0.05, "ci": [0.01, 0.09]},
            "wins": 0,
            "losses": 1,
        }
    ],
    "foundation": {
        "regions": {"chest": {"balanced_accuracy": 0.8}},
        "balanced_accuracy": 0.8,
        "ci": [0.75, 0.85],
        **COSTS,
    },
}
VERIFICATION = {
    "exports": [
        {
            "region": "chest",
            "owner": "expert",
            "target": "onnx",
            "precision": "fp32",
            "status": "passed",
            "max_abs": 1e-6,
            "tolerance": 1e-4,
            "label_flips": 0,
            "n": 8,
            "inputs": "real",
        }
    ]
}
BENCH = {
    "exports": [
        {
            "region": "chest",
            "owner": "expert",
            "target": "onnx",
            "precision": "fp32",
            "batch": 1,
            "threads": None,
            "median_ms": 1.25,
            "p90_ms": 2.0,
            "p99_ms": None,
            "throughput": 800.0,
            "peak_mib": 20.0,
        }
    ],
    "comparisons": [{"region": "chest", "path": "x", "ratio": 0.5, "ci": [0.4, 0.6]}],
}
GATE = {
    "verdict": "inconclusive",
    "on_inconclusive": "inconclusive",
    "regions": {
        "chest": {
            "verdict": "inconclusive",
            "latency": {"ratio": 1.0, "ci": [0.9, 1.1]},
            "accuracy": {"drop": None, "ci": None, "allowed": 0.02, "decidable": None},
            "deterministic": {},
            "reasons": ["the interval straddles the limit"],
        }
    },
}
PREDICTION = {
    "synthetic": False,
    "predictions": [
        {"input": "a.png", "label": "x", "top": [{"label": "x", "probability": 0.75}]},
        {"input": "b.png", "label": None, "top": []},
    ],
}


@dataclass
class Recorder:
    """Stands in for a function of the library: keeps the call, reports progress, returns what it was given."""

    result: Any
    args: tuple[Any, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)

    def __call__(self, *args: Any, **options: Any) -> Any:
        self.args, self.options = args, options
        if "on_progress" in options:
            options["on_progress"]("chest", 0, 1)
            options["on_progress"]("done", 1, 1)
        return self.result


@dataclass(frozen=True)
class Exported:
    path: Path
    owner: str
    region: str
    parity: dict[str, Any]
    up_to_date: bool
    choice: dict[str, Any] | None = None


REPORT = ReportResult(files=[Path("r.html")], up_to_date=False)
CASES: dict[str, tuple[list[str], Any, dict[str, Any], str]] = {
    "train": (
        ["--out", "there", "--resume", "--set", "train.epochs=3", "--method", "mtl"],
        TrainResult(run=Path("there/x"), regions=("chest",)),
        {"out": Path("there"), "resume": True, "force": False, "dry_run": False},
        "there/x\n",
    ),
    "pretrain": (["--force"], Path("foundations/x"), {"force": True, "out": Path("foundations")}, "foundations/x\n"),
    "evaluate": (["--model", "student", "--split", "val"], EVALUATION, {"model": "student", "split": "val"}, ""),
    "compare": (
        [
            "--methods",
            "stl,mtl",
            "--variant",
            "r4:lorkd:lorkd.rank=4",
            "--seeds",
            "0,1",
            "--fractions",
            "0.5",
            "--split",
            "val",
        ],
        COMPARISON,
        {
            "methods": ["stl", "mtl"],
            "variants": ["r4:lorkd:lorkd.rank=4"],
            "seeds": [0, 1],
            "fractions": [0.5],
            "split": "val",
        },
        "",
    ),
    "extract": (
        ["--region", "chest", "--recalibrate"],
        [ExtractResult(region="chest", path=Path("e"), up_to_date=False, max_difference=1e-6)],
        {"region": "chest", "recalibrate": True},
        "e\n",
    ),
    "export": (
        ["--target", "onnx", "--profile", "t4"],
        [Exported(Path("x"), "expert", "chest", PARITY, False)],
        {"target": "onnx", "profile": "t4", "precision": "fp32", "region": "all"},
        "x\n",
    ),
    "verify": (["--target", "onnx"], VERIFICATION, {"target": "onnx", "run": None}, ""),
    "bench": (["--batch", "1,8", "--threads", "0,2"], BENCH, {"batch": [1, 8], "threads": [None, 2]}, ""),
    "report": (["--against", "other"], REPORT, {"against": "other", "force": False}, "r.html\n"),
    "gate": (["--margin", "0.1"], GATE, {"margin": 0.1, "max_accuracy_drop": 0.02, "region": "all"}, None),
    "predict": (
        ["--region", "chest", "a.png", "b.png"],
        PREDICTION,
        {"region": "chest", "allow_synthetic": False, "top": 1},
        "a.png\tx 0.750\nb.png\trefused: does not look like the region\n",
    ),
}  # type: ignore[dict-item]


@pytest.fixture
def record(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Recorder]:
    def put(verb: str) -> Recorder:
        recorder = Recorder(CASES[verb][1])
        home = lorkit.export if verb in lorkit.export.__all__ else lorkit.decompose
        monkeypatch.setattr(home, verb, recorder, raising=False)
        return recorder

    return put


@pytest.mark.parametrize("verb", [verb for verb in CASES if verb != "gate"])
def test_options_arrive_and_results_leave(
    decompose: Callable[..., Any], record: Callable[[str], Recorder], verb: str
) -> None:
    words, _, expected, stdout = CASES[verb]
    recorder = record(verb)
    outcome = decompose(verb, *words)
    assert (outcome.code, outcome.stdout) == (0, stdout), outcome.stderr
    assert expected.items() <= recorder.options.items()


@pytest.mark.parametrize("verb", CASES)
def test_json_is_one_document(decompose: Callable[..., Any], record: Callable[[str], Recorder], verb: str) -> None:
    record(verb)
    outcome = decompose(verb, *CASES[verb][0], "--json")
    document = json.loads(outcome.stdout)
    assert document["schema_version"] == 1
    assert isinstance(document["kind"], str)
    assert isinstance(document["warnings"], list)


@pytest.mark.parametrize(("policy", "code"), [("inconclusive", 3), ("pass", 0), ("fail", 1)])
def test_the_gates_exit_code(
    decompose: Callable[..., Any], record: Callable[[str], Recorder], policy: str, code: int
) -> None:
    recorder = record("gate")
    recorder.result = GATE | {"on_inconclusive": policy}
    outcome = decompose("gate", "--on-inconclusive", policy)
    assert (outcome.code, outcome.stdout) == (code, "gate: INCONCLUSIVE\n")
    assert recorder.options["on_inconclusive"] == policy
    assert "the interval straddles the limit" in outcome.stderr
    outcome = decompose("gate", "--on-inconclusive", policy, "--json")
    assert (outcome.code, outcome.document["verdict"]) == (code, "inconclusive")


def test_train_says_up_to_date_and_shows_a_plan(
    decompose: Callable[..., Any], record: Callable[[str], Recorder]
) -> None:
    recorder = record("train")
    recorder.result = TrainResult(run=Path("r"), up_to_date=True, regions=("chest",))
    assert "up to date: chest" in decompose("train").stderr
    network = {"backbone": "resnet18", "parameters": 11, "macs": 22}
    plan = {
        "method": "lorkd",
        "regions": {"chest": {"train": 4, "val": 2, "test": 1}},
        "foundation": network,
        "student": network,
        "epochs": 3,
        "batch_size": 8,
        "training_parameters": 12,
        "expert_layers": [
            {"name": "conv1", "weight": [8, 3, 3, 3], "rank": 4, "strategy": "taps", "macs": 99, "overhead": 0.125}
        ],
        "expert_mac_overhead": 0.125,
        "layers_without_experts": [["conv2", "not selected"]],
    }
    recorder.result = TrainResult(run=Path("r"), plan=plan)
    outcome = decompose("train", "--dry-run")
    assert "lorkd: 3 epochs, batch 8, 12 parameters to train, 1 expert layers" in outcome.stderr
    assert "8x3x3x3" in outcome.stderr
    assert "experts add 12.5% to the multiply-accumulates" in outcome.stderr
    assert "no experts in conv2: not selected" in outcome.stderr
    assert outcome.stdout == ""


def test_a_users_weights_need_no_pretraining(decompose: Callable[..., Any], record: Callable[[str], Recorder]) -> None:
    record("pretrain").result = None
    outcome = decompose("pretrain", "--set", "foundation.weights=w.pth")
    assert "nothing to do: the configuration names the weights" in outcome.stderr


def test_predict_takes_a_path_or_a_region(decompose: Callable[..., Any], record: Callable[[str], Recorder]) -> None:
    recorder = record("predict")
    decompose("predict", "export/dir", "a.png")
    assert recorder.args == (Path("export/dir"), [Path("a.png")])
    decompose("predict", "--region", "chest", "a.png")
    assert recorder.args == (None, [Path("a.png")])


def test_export_passes_the_permission_on(decompose: Callable[..., Any], record: Callable[[str], Recorder]) -> None:
    recorder = record("export")
    decompose("export", "--target", "triton")
    assert recorder.options["allow_synthetic"] is False
    decompose("export", "--target", "triton", "--allow-synthetic")
    assert recorder.options["allow_synthetic"] is True


def test_data_on_phantoms(decompose: Callable[..., Any], tmp_path: Path) -> None:
    """No fake: reading two phantom regions is quick."""
    (tmp_path / "decompose.yaml").write_text(
        "image: {size: 16, channels: 1}\nregions: {chest: {data: phantom:chest}}\n"
    )
    outcome = decompose("data", "--sheet", "sheet.png", "--json")
    assert outcome.code == 0, outcome.stderr
    assert outcome.document["regions"]["chest"]["n"] > 0
    assert (tmp_path / "sheet.png").read_bytes().startswith(b"\x89PNG")
    assert "SYNTHETIC" in outcome.stderr
