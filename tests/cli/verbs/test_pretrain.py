"""`pretrain` prints where the foundation lies."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any


def test_options_arrive_and_results_leave(check_verb: Callable[..., Any]) -> None:
    words = ["pretrain", "--force"]
    check_verb(
        words, Path("foundations/x"), options={"force": True, "out": Path("foundations")}, stdout="foundations/x\n"
    )


def test_a_users_weights_need_no_pretraining(decompose: Callable[..., Any], record: Callable[..., Any]) -> None:
    record("pretrain", None)
    outcome = decompose("pretrain", "--set", "foundation.weights=w.pth")
    assert "nothing to do: the configuration names the weights" in outcome.stderr
