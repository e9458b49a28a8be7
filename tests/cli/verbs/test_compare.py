"""`compare` hands lists over and shows the table, the pairs and the foundation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

COSTS = {"parameters": 10, "macs": 20, "deployed_bytes": 40}

COMPARISON = {
    "id": "small-1234",
    "split": "val",
    "metric": "balanced_accuracy",
    "rows": [{"label": "mtl", "regions": {"chest": {"balanced_accuracy": 0.75}}}],
    "table": [
        {
            "label": "mtl",
            "fraction": 1.0,
            "seeds": 2,
            "balanced_accuracy": 0.75,
            "ci": [0.7, 0.8],
            "sd": 0.01,
            "regions": {"chest": 0.75},
            "train_seconds": 1.5,
            **COSTS,
        }
    ],
    "pairs": [
        {
            "baseline": "foundation",
            "candidate": "mtl",
            "fraction": 1.0,
            "mean": {"drop": 0.05, "ci": [0.01, 0.09]},
            "wins": 0,
            "losses": 1,
        }
    ],
    "foundation": {
        "regions": {"chest": {"balanced_accuracy": 0.8}},
        "balanced_accuracy": 0.8,
        "ci": [0.75, 0.85],
        **COSTS,
    },
}


def test_options_arrive_and_results_leave(check_verb: Callable[..., Any]) -> None:
    words = [
        "compare",
        *("--methods", "stl,mtl", "--variant", "r4:lorkd:lorkd.rank=4"),
        *("--seeds", "0,1", "--fractions", "0.5", "--split", "val"),
    ]
    outcome = check_verb(
        words,
        COMPARISON,
        options={
            "methods": ["stl", "mtl"],
            "variants": ["r4:lorkd:lorkd.rank=4"],
            "seeds": [0, 1],
            "fractions": [0.5],
            "split": "val",
        },
        stdout="",
    )
    assert "0.750" in outcome.stderr
    assert "foundation" in outcome.stderr
