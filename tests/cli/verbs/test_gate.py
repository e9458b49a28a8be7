"""`gate` prints one verdict, and its exit code follows the policy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sample_documents import gate, latency, region, undecided

STRADDLES = region(
    verdict="inconclusive",
    latency_test=latency(verdict="inconclusive", ratio=1.0, ci=[0.9, 1.1]),
    accuracy_test=undecided(),
    reasons=["the interval straddles the limit"],
)
GATE = gate({"chest": STRADDLES}, verdict="inconclusive")


def test_options_arrive(decompose: Callable[..., Any], record: Callable[..., Any]) -> None:
    recorder = record("gate", GATE)
    outcome = decompose("gate", "--margin", "0.1", "--json")
    assert {"margin": 0.1, "max_accuracy_drop": 0.02, "region": "all"}.items() <= recorder.options.items()
    assert isinstance(outcome.document["kind"], str)
    assert outcome.document["warnings"] == []


@pytest.mark.parametrize(("policy", "code"), [("inconclusive", 3), ("pass", 0), ("fail", 1)])
def test_the_gates_exit_code(decompose: Callable[..., Any], record: Callable[..., Any], policy: str, code: int) -> None:
    recorder = record("gate", GATE.with_changes(on_inconclusive=policy))
    outcome = decompose("gate", "--on-inconclusive", policy)
    assert (outcome.code, outcome.stdout.splitlines()[-1]) == (code, "gate: INCONCLUSIVE")
    assert recorder.options["on_inconclusive"] == policy
    assert "the interval straddles the limit" in outcome.stdout
    outcome = decompose("gate", "--on-inconclusive", policy, "--json")
    assert (outcome.code, outcome.document["verdict"]) == (code, "inconclusive")
