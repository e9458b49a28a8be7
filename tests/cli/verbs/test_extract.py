"""`extract` prints the paths of the experts and shows what a cut of the rank did."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import lorkit.decompose
from lorkit.decompose.documents.expert import Reduction
from lorkit.decompose.extraction.extraction import ExtractResult


def test_options_arrive_and_results_leave(check_verb: Callable[..., Any]) -> None:
    words = ["extract", "--region", "chest", "--recalibrate"]
    check_verb(
        words,
        [ExtractResult(region="chest", path=Path("e"), up_to_date=False, max_difference=1e-6)],
        options={"region": "chest", "recalibrate": True},
        stdout="e\n",
    )
    check_verb(
        ["extract", "--router", "--region-id"],
        [ExtractResult(region="router", path=Path("e"), up_to_date=True, max_difference=1e-6)],
        options={"region": None, "router": True, "region_id": True},
        stdout="e\n",
    )


REDUCTION = {
    "rank": 2,
    "rank_before": 8,
    "factor_parameters": {"before": 4000, "after": 1000},
    "energy_kept": 0.875,
    "layers_cut": 1,
    "layers": [{"layer": "conv1", "rank_before": 8, "rank": 2, "energy_kept": 0.875}],
    "validation": {
        "metric": "balanced_accuracy",
        "split": "val",
        "n": 40,
        "groups": 20,
        "before": 0.9,
        "after": 0.85,
        "drop": 0.05,
        "ci": [0.01, 0.09],
    },
}


def test_a_cut_is_shown(decompose: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}

    def extract(run: object, **options: Any) -> list[ExtractResult]:
        seen.update(options)
        one = ExtractResult(
            region="chest",
            path=Path("e"),
            up_to_date=False,
            max_difference=1e-6,
            reduction=Reduction.model_validate(REDUCTION),
        )
        return [one]

    monkeypatch.setattr(lorkit.decompose, "extract", extract, raising=False)
    outcome = decompose("extract", "--rank", "2")
    assert (outcome.code, outcome.stdout, seen["rank"]) == (0, "e\n", 2)
    for part in ("rank 8 to 2", "87.5 %", "0.900 to 0.850", "0.050 [0.010, 0.090]", "4,000 to 1,000 parameters"):
        assert part in outcome.stderr
    (row,) = decompose("extract", "--rank", "2", "--json").document["experts"]
    assert row["reduction"] == REDUCTION
