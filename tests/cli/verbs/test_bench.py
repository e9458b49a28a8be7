"""`bench` hands batch sizes and threads over and shows latencies with their ratio."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lorkit.decompose.documents.bench import BenchDocument

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
    "warnings": [],
    "comparisons": [{"against": "y", "path": "x", "ratio": 0.5, "ci": [0.4, 0.6]}],
}


def test_options_arrive_and_results_leave(check_verb: Callable[..., Any], draft: Callable[..., Any]) -> None:
    words = ["bench", "--batch", "1,8", "--threads", "0,2"]
    options = {"batch": [1, 8], "threads": [None, 2]}
    outcome = check_verb(words, draft(BenchDocument, BENCH), options=options, stdout=None)
    assert "0.500 [0.400, 0.600]" in outcome.stdout
