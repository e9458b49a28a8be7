"""`gate` prints one verdict, and its exit code follows the policy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

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


def test_options_arrive(decompose: Callable[..., Any], record: Callable[..., Any]) -> None:
    recorder = record("gate", GATE)
    outcome = decompose("gate", "--margin", "0.1", "--json")
    assert {"margin": 0.1, "max_accuracy_drop": 0.02, "region": "all"}.items() <= recorder.options.items()
    assert isinstance(outcome.document["kind"], str)
    assert outcome.document["warnings"] == []


@pytest.mark.parametrize(("policy", "code"), [("inconclusive", 3), ("pass", 0), ("fail", 1)])
def test_the_gates_exit_code(decompose: Callable[..., Any], record: Callable[..., Any], policy: str, code: int) -> None:
    recorder = record("gate", GATE | {"on_inconclusive": policy})
    outcome = decompose("gate", "--on-inconclusive", policy)
    assert (outcome.code, outcome.stdout) == (code, "gate: INCONCLUSIVE\n")
    assert recorder.options["on_inconclusive"] == policy
    assert "the interval straddles the limit" in outcome.stderr
    outcome = decompose("gate", "--on-inconclusive", policy, "--json")
    assert (outcome.code, outcome.document["verdict"]) == (code, "inconclusive")
