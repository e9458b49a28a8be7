"""`verify` shows each export beside its network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

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


def test_options_arrive_and_results_leave(check_verb: Callable[..., Any]) -> None:
    words = ["verify", "--target", "onnx"]
    outcome = check_verb(words, VERIFICATION, options={"target": "onnx", "run": None}, stdout="")
    assert "passed" in outcome.stderr
