"""The help of export tells of every target whether it works here, and how to get what it lacks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from lorkit.export.targets import TARGETS, Availability


def test_every_target_is_told_with_what_it_lacks(
    decompose: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    states = {"onnx": Availability(True), "trt": Availability(False, "it is not here", "pip install it")}
    states["trt-rtx"] = Availability(True, runs=False, cannot_run_because="there is no GPU")
    for name, state in states.items():
        monkeypatch.setattr(type(TARGETS[name]), "available", lambda self, profile=None, state=state: state)
    outcome = decompose("export", "--help")
    assert outcome.code == 0
    text = " ".join(outcome.stdout.split())
    assert all(f"{name} " in text for name in TARGETS)
    assert "trt fp32, fp16, bf16, int8. Missing: it is not here; pip install it" in text
    assert "trt-rtx fp32, fp16, bf16, int8. Builds here, does not run: there is no GPU" in text
    assert "Targets and" not in decompose("bench", "--help").stdout
