"""Whole documents for tests of what reads them: every key is there, and each test changes what it is about."""

from __future__ import annotations

from typing import Any

from lorkit.decompose.documents.gate import Accuracy, GateDocument, GateRegion, JudgedAccuracy, Latency
from lorkit.decompose.documents.gate_costs import Deterministic
from lorkit.decompose.machine import fingerprint, tool_versions
from lorkit.export.runtime.exported import ExportPair

SUBJECT: dict[str, Any] = {
    "path": "x", "digest": "0" * 64, "owner": "expert", "region": "chest", "target": "onnx", "profile": "any",
    "precision": "fp32",
}  # fmt: skip
COST: dict[str, Any] = {"baseline": 200, "candidate": 100, "ratio": 0.5, "verdict": "pass"}
CASES: dict[str, Any] = {"digest": "1" * 64, "n": 100, "groups": 50, "excluded": {}, "unknown": []}


def flip(case: str = "case", **changes: Any) -> dict[str, Any]:
    """A case that changed."""
    return {"case": case, "truth": "x", "baseline": "x", "candidate": "y", "outcome": "worsened", **changes}


def subset(name: str, worse: float | None = 1.0, within: float | None = 0.001, **changes: Any) -> dict[str, Any]:
    """A subgroup of sex, or a structure where `column` is None."""
    return {"column": "sex", "name": name, "n": 9, "groups": 9, "verdict": "inconclusive", "drop": 0.0,
            "ci": [0.0, 0.0], "p_worse": worse, "p_within": within, **changes}  # fmt: skip


def accuracy(**changes: Any) -> JudgedAccuracy:
    """A block that judged 100 cases."""
    return JudgedAccuracy.model_validate({
        "verdict": "pass", "metric": "balanced_accuracy", "drop": 0.001, "ci": [-0.01, 0.01], "decidable": 0.01,
        "baseline": 0.9, "candidate": 0.899, "n": 100, "groups": 50, "mcnemar_p": 0.5, "p_worse": 1.0,
        "p_within": 0.001, "needed_n": 300, "allowed": 0.02, "strict": False, "absent": [], "by_structure": [],
        "by_subgroup": [], "label_flips": 0, "changes": {"improved": 0, "worsened": 0, "wrong either way": 0},
        "changed_answers": [], "case_set": CASES, "source": "here", **changes,
    })  # fmt: skip


def undecided(**changes: Any) -> Accuracy:
    """A block without cases."""
    empty = dict.fromkeys(("drop", "ci", "decidable", "n", "needed_n", "case_set", "source"))
    about = {"verdict": "inconclusive", "metric": "balanced_accuracy", "allowed": 0.02}
    return Accuracy.model_validate({**about, **empty, **changes})


def latency(**changes: Any) -> Latency:
    """A latency that was measured."""
    found = {"verdict": "pass", "ratio": 0.5, "ci": [0.4, 0.6], "margin": 0.03, "pairs": 40, "noise_floor": 0.01}
    return Latency.model_validate({**found, **changes})


def choice_conditions(**changes: Any) -> dict[str, Any]:
    """Conditions of a choice of `export` with auto."""
    limits = {"max_accuracy_drop": 0.02, "batches": [1], "threads": 1, "seconds": 1.0, "seed": 0}
    return {"input_digests": {}, **limits, "machine": fingerprint(), "tools": tool_versions(), **changes}


def costs(**changes: Any) -> Deterministic:
    """Costs that halve."""
    return Deterministic.model_validate(
        {"verdict": "pass", "margin": 0.03, "costs": {"bytes": COST, "macs": COST}, **changes}
    )


def region(**changes: Any) -> GateRegion:
    """A region that passed."""
    found = {
        "verdict": "pass",
        "latency_test": latency(),
        "accuracy_test": accuracy(),
        "deterministic": costs(),
        "budget_test": None,
    }
    return GateRegion.model_validate({**found, "reasons": ["ok"], "baseline": SUBJECT, "candidate": SUBJECT, **changes})


def measured(pair: ExportPair, **changes: Any) -> GateRegion:
    """What the gate measured of a pair, before its verdict."""
    reasons: dict[str, Any] = {"deterministic": [], "latency_test": [], "accuracy_test": [], "budget_test": []}
    sides = {"baseline": pair.baseline.describe(), "candidate": pair.candidate.describe()}
    return region(**sides, verdict="inconclusive", reasons=[], reasons_by_check=reasons, **changes)


def gate(regions: dict[str, Any] | None = None, **changes: Any) -> GateDocument:
    """A gate over regions; one that passed by default."""
    return GateDocument.model_validate({
        "warnings": [], "created": "2026-01-01T00:00:00+00:00", "verdict": "pass", "on_inconclusive": "inconclusive",
        "margin": 0.03, "max_accuracy_drop": 0.02, "max_accuracy_drops": {}, "seed": 0, "run": None,
        "synthetic": False, "machine": fingerprint(), "tools": tool_versions(),
        "regions": {"chest": region()} if regions is None else regions, **changes,
    })  # fmt: skip
