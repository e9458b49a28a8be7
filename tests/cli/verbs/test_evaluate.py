"""`evaluate` shows the scores of each region."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lorkit.decompose.documents.evaluate import EvaluateDocument

EVALUATION = {
    "schema_version": 1,
    "kind": "evaluate",
    "warnings": ["few cases"],
    "synthetic": True,
    "model": "experts",
    "split": "test",
    "regions": {
        "chest": {
            "task": "classification",
            "n": 12,
            "accuracy": 0.5,
            "balanced_accuracy": 0.5,
            "auroc": None,
            "ece": 0.1,
            "ci": {},
        }
    },
    "means": {"accuracy": 0.5, "balanced_accuracy": 0.5, "auroc": None, "ece": 0.1},
    "mean_ci": {"accuracy": [0.4, 0.6], "balanced_accuracy": None, "auroc": None, "ece": None},
}


def test_options_arrive_and_results_leave(check_verb: Callable[..., Any], draft: Callable[..., Any]) -> None:
    words = ["evaluate", "--model", "student", "--split", "val"]
    outcome = check_verb(
        words, draft(EvaluateDocument, EVALUATION), options={"model": "student", "split": "val"}, stdout=None
    )
    assert "few cases" in outcome.stderr
    assert "chest" in outcome.stdout
