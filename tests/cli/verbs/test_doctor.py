"""`doctor`: the machine, the targets with what they lack, and a self-test that can fail."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

from lorkit.cli import selftest
from lorkit.cli.verbs import doctor
from lorkit.decompose.documents.hardware import SelfTestResult, TargetFacts
from lorkit.export.targets import TARGETS


@pytest.mark.usefixtures("operators_known_once")
def test_the_self_test_passes_here(decompose: Callable[..., Any]) -> None:
    outcome = decompose("doctor", "--json")
    document = outcome.document
    assert outcome.code == 0, document["self_test"]
    assert document["self_test"]["passed"]
    assert set(document["self_test"]["differences"]) == {"extract", "export"}
    assert document["target_states"].keys() == TARGETS.keys()
    for row in document["target_states"].values():
        assert row["ok"] or (row["reason"] and row["install"] and not row["runs"])
        assert row["runs"] or row["reason"] or row["why"]


@pytest.mark.parametrize(
    "result",
    [
        RuntimeError("broken engine"),
        SelfTestResult(passed=False, differences={"export": 0.5}, tolerance=1e-4),
        SelfTestResult(passed=False, differences={"export": math.nan}, tolerance=math.inf),
    ],
)
def test_a_failed_self_test_is_exit_4(
    decompose: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, result: Any
) -> None:
    def fail() -> Any:
        if isinstance(result, Exception):
            raise result
        return result

    monkeypatch.setattr(selftest, "self_test", fail)
    outcome = decompose("doctor")
    assert outcome.code == 4
    assert "self-test FAILED" in outcome.stdout
    assert "targets" in outcome.stdout
    found = decompose("doctor", "--json").document["self_test"]
    assert found["passed"] is False
    if isinstance(result, SelfTestResult):
        assert found["differences"] == {"export": None if result.tolerance is None else 0.5}


def test_a_target_that_builds_what_cannot_run_here_is_neither_ready_nor_missing() -> None:
    states = [
        doctor._state(TargetFacts.model_construct(ok=ok, runs=runs))
        for ok, runs in ((True, True), (True, False), (False, False))
    ]
    assert states == ["ready", "builds, but cannot run", "missing"]


def test_random_experts_are_not_nothing() -> None:
    """A self-test whose experts do nothing would pass whatever extraction does."""
    import torch

    with torch.no_grad():
        image = torch.rand(4, 1, 64, 64)
        model = selftest._model(image)
        with_expert = model(image, "chest").logits["chest"]
        with model.routing.without_experts():
            without = model(image, "chest").logits["chest"]
    assert (with_expert - without).abs().max() > 0.05
