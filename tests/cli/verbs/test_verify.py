"""`verify` shows each export beside its network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lorkit.decompose.documents.verify import VerifyDocument

SUBJECT = {
    "path": "x",
    "digest": None,
    "owner": "expert",
    "region": "chest",
    "target": "onnx",
    "profile": "cpu-generic",
}
FIGURES = {"max_abs": 1e-6, "of_margin": 1e-6, "label_flips": 0, "flip_rate": 0.0}
VERIFICATION = VerifyDocument.model_validate(
    {
        "status": "passed",
        "not_run": [],
        "exports": [
            {
                **SUBJECT,
                "path": "x",
                "digest": None,
                **FIGURES,
                "precision": "fp32",
                "tolerance": 1e-4,
                "flip_limit": 0.0,
                "n": 8,
                "inputs": "real",
                "status": "passed",
                "against": "source",
                "provider": "CPUExecutionProvider",
                "batches": [{"batch": 1, **FIGURES, "dice": None}],
            }
        ],
    }
)


def test_options_arrive_and_results_leave(check_verb: Callable[..., Any]) -> None:
    words = ["verify", "--target", "onnx"]
    outcome = check_verb(words, VERIFICATION, options={"target": "onnx", "run": None}, stdout=None)
    assert "passed" in outcome.stdout
