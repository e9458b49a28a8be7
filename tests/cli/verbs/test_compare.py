"""`compare` hands lists over and shows the table, the pairs and the foundation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lorkit.decompose.documents.compare import CompareDocument
from lorkit.decompose.machine import fingerprint

COSTS = {"parameters": 10, "macs": 20, "deployed_bytes": 40, "training_parameters": 10, "training_macs": 20}
SCORES = {"n": 8, "groups": 4, "accuracy": None, "auroc": None, "ece": None, "brier": None, "ci": {}}

COMPARISON = {
    "id": "small-1234",
    "machine": fingerprint(),
    "synthetic": False,
    "arms": [],
    "split": "val",
    "equal_budget": "epochs",
    "metric": "balanced_accuracy",
    "rows": [
        {
            "label": "mtl",
            "method": "mtl",
            "seed": 0,
            "fraction": 1.0,
            "regions": {"chest": {**SCORES, "balanced_accuracy": 0.75}},
            "train_seconds": 1.5,
            **COSTS,
        }
    ],
    "table": [
        {
            "label": "mtl",
            "method": "mtl",
            "fraction": 1.0,
            "seed_count": 2,
            "balanced_accuracy": 0.75,
            "ci": [0.7, 0.8],
            "sd": 0.01,
            "regions": {"chest": 0.75},
            "train_seconds": 1.5,
            **COSTS,
        }
    ],
    "compared_pairs": [
        {
            "baseline": "foundation",
            "candidate": "mtl",
            "fraction": 1.0,
            "seeds": [0],
            "metric": "balanced_accuracy",
            "regions": {},
            "mean_drop": {"drop": 0.05, "ci": [0.01, 0.09], "decidable": 0.04},
            "wins": 0,
            "losses": 1,
        }
    ],
    "foundation": {
        "backbone": "vit",
        "head_kinds": {"chest": "own"},
        "regions": {"chest": {**SCORES, "balanced_accuracy": 0.8}},
        "balanced_accuracy": 0.8,
        "ci": [0.75, 0.85],
        **COSTS,
    },
}


def test_options_arrive_and_results_leave(check_verb: Callable[..., Any]) -> None:
    words = [
        "compare",
        *("--methods", "stl,mtl", "--variant", "r4:lorkd:lorkd.rank=4"),
        *("--seeds", "0,1", "--fractions", "0.5", "--split", "val", "--budget", "epochs"),
        "--controls",
    ]
    outcome = check_verb(
        words,
        CompareDocument.model_validate(COMPARISON),
        options={
            "methods": ["stl", "mtl"],
            "variants": ["r4:lorkd:lorkd.rank=4"],
            "seeds": [0, 1],
            "fractions": [0.5],
            "split": "val",
            "budget": "epochs",
            "controls": True,
        },
        stdout=None,
    )
    assert "0.750" in outcome.stdout
    assert "foundation" in outcome.stdout


def test_the_share_of_regions_that_a_router_predicts_right_is_a_table(check_verb: Callable[..., Any]) -> None:
    known = COMPARISON["table"][0] | {"exposure": {"chest": {"optimiser_steps": 7, "images": 123}}}
    predicted = {
        "right": 0.975,
        "ci": [0.96, 0.99],
        "regions": {"chest": 0.975},
        "confusion_by_region": {"chest": {"chest": 39}},
    }
    unknown = known | {"label": "mtl, region unknown", "prediction": predicted}
    document = CompareDocument.model_validate({**COMPARISON, "table": [known, unknown]})
    outcome = check_verb(["compare"], document, options={}, stdout=None)
    assert "region predicted right, where it is unknown" in outcome.stdout
    assert "0.975 [0.960, 0.990]" in outcome.stdout
    assert outcome.stdout.count("7 / 123") == 1, "the same training is not shown twice"
