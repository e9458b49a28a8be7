from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import yaml

from lorkit.decompose.config import ImageConfig, RegionConfig
from lorkit.decompose.data.preprocessing.recipe import build_recipe
from lorkit.decompose.documents.expert import ExpertInfo
from lorkit.decompose.extraction.card_example import example
from lorkit.decompose.extraction.model_card import model_card
from lorkit.decompose.metrics import multilabel, scores


def described(**changes: Any) -> ExpertInfo:
    labels = np.arange(30) % 3
    info = {
        "region": "knee",
        "classes": ["none", "mild", "severe"],
        "task": "classification",
        "modality": "xray",
        "backbone": "resnet18",
        "parameters": 11_170_000,
        "macs": 37_000_000,
        "recalibrated": False,
        "gray": True,
        "image": {"size": [16, 16], "channels": 1},
        "network_output": {"name": "logits", "channels": 3},
        "normalise": {"mean": [0.5], "std": [0.25]},
        "recipe": build_recipe(ImageConfig(size=16), RegionConfig(data=("x.npz",))),
        "cases": {"train": 100, "val": 30, "test": 30},
        "validation": scores(labels, np.eye(3)[labels], labels.astype(str), classes=["none", "mild", "severe"]),
        "equality": {
            "n": 30, "inputs": "real", "max_abs_difference": 2e-6, "tolerance": 1e-3, "label_flips": 0, "split": "val"
        },
        "in_region": {
            "version": 1, "channels": 1, "mean": 72 * [0.0], "scale": 72 * [1.0], "directions": [], "variances": [],
            "rest": 1.0, "trained_on": 100, "limit": 1.0, "calibrated_on": 30,
            "false_refusal": {"rate": 0.01, "n": 30, "split": "test"},
            "other_regions": {"rate": None, "lowest": None, "region_count": 0, "n": 0},
        },
        "warnings": ["something is unknown"],
        "synthetic": False,
        "made_from": {
            "run": "five", "run_manifest": 64 * "a", "method": "lorkd", "foundation_backbone": "resnet50",
            "lorkit": "0.1.0",
        },
    }  # fmt: skip
    return ExpertInfo.model_validate({**info, **changes})


def test_front_matter_is_yaml_and_the_text_names_what_matters() -> None:
    card = model_card(described())
    front = yaml.safe_load(card.split("---\n")[1])
    assert front["library_name"] == "pytorch"
    assert "synthetic" not in front["tags"]
    for text in (
        "none, mild and severe",
        "11,170,000 parameters",
        "(xray)",
        "within 2.0e-06",
        "refuses 1.0 %",
        "- Warning: something is unknown.",
    ):
        assert text in card
    assert "Only 10 validation images of mild" in card
    assert "an unknown share of 0 images of other regions" in card


def test_a_synthetic_expert_is_marked_at_the_top() -> None:
    card = model_card(described(synthetic=True))
    assert "**Synthetic.**" in card.split("\n\n")[2]
    assert "synthetic" in yaml.safe_load(card.split("---\n")[1])["tags"]


def test_undefined_metrics_are_said_to_be_so() -> None:
    validation = scores([0, 0, 1], np.eye(3)[[0, 0, 1]], ["a", "b", "c"], classes=["none", "mild", "severe"])
    assert "| undefined | undefined |" in model_card(described(validation=validation))


@pytest.mark.parametrize(
    ("region", "text"),
    [
        ({}, "planes / whole.get(stored, 1)"),
        ({"window": (0, 400)}, "(planes - 0.0) / 400.0"),
        ({"intensity": "percentile"}, "np.percentile(planes, (0.5, 99.5))"),
    ],
)
def test_the_example_follows_the_recipe(region: dict[str, Any], text: str) -> None:
    recipe = build_recipe(ImageConfig(size=16), RegionConfig(data=("x.npz",), **region))
    code = example(described(recipe=recipe))
    compile(code, "README.md", "exec")
    assert text in code
    assert 'convert("L")' in code
    assert ".repeat(3, axis=0)" in code
    assert 'convert("RGB")' in example(described(recipe=recipe, gray=False))


def test_a_card_of_several_labels_states_their_thresholds() -> None:
    labels = np.array([[1, 0], [0, -1], [1, 1], [0, 0]])
    found = multilabel.scores(labels, 2.0 * labels - 1, list("abcd"), names=("effusion", "mass"))
    info = described(
        task="multilabel",
        classes=["effusion", "mass"],
        validation=found,
        decision={"policy": "youden", "split": "val", "thresholds": {"effusion": 0.31, "mass": None}},
    )
    card = model_card(info)
    for text in (
        "says for each of effusion and mass whether an image shows it",
        "| AUROC of effusion | 1.000 |",
        "AUROC (mean over labels)",
        "chosen on the validation split (to maximise sensitivity plus specificity): effusion 0.310",
        "None could be chosen for mass",
        ".sigmoid()",
    ):
        assert text in card
    assert "apart" not in card
