"""The full report's document as one of another task, or of more regions, with scores of the metrics themselves."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from lorkit.decompose.data.preprocessing.stages import STAGES
from lorkit.decompose.metrics import classification, multilabel, node
from lorkit.decompose.tasks import get_task

ORGANS = (
    "adrenal_gland_left", "aorta", "colon", "duodenum", "gallbladder", "inferior vena cava", "kidney", "liver",
    "pancreas", "spleen", "urinary bladder wall",
)  # fmt: skip
LABELS = ("enlarged cardiomediastinum", "pleural effusion", "pneumothorax")
_GENERATOR = np.random.default_rng(0)
_GROUPS = np.repeat(np.arange(60), 2)


def _changed(
    document: dict[str, Any], task: str, classes: Sequence[str], metrics: Sequence[str], tables: dict[str, Any]
) -> dict[str, Any]:
    """Return the same run with another task and classes, and equal tables of all networks and regions."""
    headline = get_task(task).headline
    document |= {"task": task, "metrics": list(metrics), "headline_metric": headline}
    for region in document["regions"].values():
        region |= {"task": task, "classes": list(classes), "grouped": True}
    sides = [row[side] for row in document["changes_since"]["rows"] for side in ("then", "now")]
    for row in [*document["table"], *sides]:
        row |= dict.fromkeys(metrics, 0.8125)
        row["ci"] = {name: [0.7512, 0.8731] for name in metrics}
    for row in document["training"]:
        row["val"][get_task(task).validation] = row["val"].pop("balanced_accuracy")
    for regions in document["evaluations"].values():
        for block in regions.values():
            block |= dict.fromkeys(("confusion", "reliability", "per_class", "per_structure", "labels", "recall_at"))
            block |= {key: value for key, value in tables.items() if key in block} | {"classes": list(classes)}
            block["ece_ci"] = tables["ci"].get("ece")
    return document


def _logits(truth_NK: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    noise: np.ndarray[Any, Any] = _GENERATOR.normal(0, 1, truth_NK.shape)
    return noise + 1.5 * truth_NK


def of_many_classes(document: dict[str, Any]) -> dict[str, Any]:
    """A classifier of eleven organs with long names."""
    label_N = np.arange(len(_GROUPS)) % len(ORGANS)
    found = classification.scores(
        label_N, _logits(label_N[:, None] == np.arange(len(ORGANS))), _GROUPS, classes=ORGANS, replicates=40
    )
    found["confusion"][0][0] = 12345
    return _changed(document, "classification", ORGANS, ("accuracy", "balanced_accuracy", "auroc", "ece"), found)


def of_labels(document: dict[str, Any]) -> dict[str, Any]:
    """A multilabel network."""
    truth_NL = (_GENERATOR.random((len(_GROUPS), len(LABELS))) < 0.4).astype(np.int64)
    found = multilabel.scores(
        truth_NL, _logits(truth_NL), _GROUPS, names=LABELS, thresholds=[0.4] * len(LABELS), replicates=40
    )
    found |= {"n": len(_GROUPS), "groups": 60, "threshold_policy": "youden"}
    return _changed(document, "multilabel", LABELS, ("auroc", "ap", "ece"), found)


def of_nodes(document: dict[str, Any]) -> dict[str, Any]:
    """A network of nodes of a graph."""
    label_N = np.arange(len(_GROUPS)) % 4 // 3
    found = node.scores(
        label_N, _logits(label_N[:, None] == np.arange(2)), _GROUPS, classes=("legitimate", "fraudulent"),
        threshold=0.4, recall_at=(10, 0.25), replicates=40,
    )  # fmt: skip
    found["threshold_policy"] = "f1"
    metrics = ("ap", "auroc", "recall_at_k", "f1_macro", "gmean")
    return _changed(document, "node", ("legitimate", "fraudulent"), metrics, found) | {"pictures": {}}


def of_masks(document: dict[str, Any]) -> dict[str, Any]:
    """The same run, as one that segments."""
    document |= {"task": "segmentation", "metrics": ["dice", "nsd", "hd95"], "headline_metric": "dice"}
    for region in document["regions"].values():
        region["task"] = "segmentation"
    for row in [
        *document["table"],
        *(row[side] for row in document["changes_since"]["rows"] for side in ("then", "now")),
    ]:
        row |= {"dice": row["balanced_accuracy"], "nsd": 0.7, "hd95": 2.5, "unit": "mm"}
        row["ci"] = {"dice": row["ci"]["balanced_accuracy"], "nsd": None, "hd95": [1.5, 3.5]}
    for row in document["training"]:
        row["val"]["dice_network_grid"] = row["val"].pop("balanced_accuracy")
    for regions in document["evaluations"].values():
        for block in regions.values():
            block |= {"confusion": None, "reliability": None, "per_class": None, "ece": None, "ece_ci": None}
            block["per_structure"] = [
                {
                    "structure": name, "n": 7, "defined": 7, "hd95_undefined": 2, "dice": 0.8123, "nsd": 0.7234,
                    "hd95": 3.25, "dice_network_grid": 0.9345,
                    "ci": {"dice": [0.7, 0.9], "nsd": [0.6, 0.8], "hd95": [2.0, 4.0], "dice_network_grid": [0.9, 1.0]},
                }
                for name in ("dark", "bright")
            ]  # fmt: skip
            block |= {"unit": "mm", "nsd_tolerance": {"dark": 1.0, "bright": 1.5}}
    document["pictures"]["chest"] = [
        {
            "png": "iVBORw0KGgo=", "width": 8, "height": 8, "slice": 3, "annotated": True,
            "dice_by_structure": {"dark": 0.5, "bright": None},
        }
    ]  # fmt: skip
    return document


def of_volumes(document: dict[str, Any]) -> dict[str, Any]:
    """The same run, as one of volumes that networks take window by window."""
    document = of_masks(document)
    for regions in document["evaluations"].values():
        for block in regions.values():
            for row in block["per_structure"]:
                row |= {"volume_bias": -1.25, "volume_bias_relative": -0.125, "empty": 1, "false": 0, "missed": 2}
                row["ci"]["volume_bias"] = [-2.5, 0.5]
            block |= {"volume_unit": "ml", "volume_bias": -1.25}
    seconds = dict(zip(STAGES, (0.71, 2.42, 1.03, 1935.25, 28.46, 12.5, 3.84, 6.11), strict=True))
    costs = {"windows": 125, "batch": 2, "stage_seconds": seconds, "predicted_peak_mib": 1501.2, "peak_mib": 1508.9}
    parts = {"read_ms": 710.0, "prepare_ms": 2420.0, "engine_ms": 1935250.0, "answer_ms": 51940.0}
    for row in document["table"]:
        if row["latency"]:
            row["latency"]["end_to_end"] = {
                "input": "drawn nii, 320 x 320 x 320", "n": 1, **parts, "total_ms": 1990320.0, "volume": costs,
            }  # fmt: skip
    return document


def of_many_regions(document: dict[str, Any]) -> dict[str, Any]:
    """Six regions of three tasks, as one run of LoRKD."""
    parts = {"knee": document, "lesion": of_masks(copy.deepcopy(document)), "film": of_labels(copy.deepcopy(document))}
    whole = copy.deepcopy(document) | {"task": "mixed", "headline_metric": "headline", "changes_since": None}
    whole["metrics"] = list(dict.fromkeys(name for one in parts.values() for name in one["metrics"]))
    whole |= {"regions": {}, "table": [], "training": []}
    whole["evaluations"] = {model: {} for model in document["evaluations"]}
    judged, whole["gate"]["regions"] = whole["gate"]["regions"], {}
    for suffix, one in parts.items():
        for region in one["regions"].values():
            old, name = region["name"], f"{region['name']}_of_{suffix}"
            whole["regions"][name] = region | {"name": name}
            for row in (row for row in one["table"] if row["region"] == old):
                shown = {"headline": row[one["headline_metric"]]}
                ci = (
                    {key: None for key in whole["metrics"]}
                    | row["ci"]
                    | {"headline": row["ci"][one["headline_metric"]]}
                )
                digest = row["digest"] and f"{len(whole['table']):064x}"
                whole["table"].append(row | shown | {"region": name, "ci": ci, "digest": digest})
            for model, regions in one["evaluations"].items():
                whole["evaluations"][model][name] = regions[old]
            whole["gate"]["regions"][name] = copy.deepcopy(judged[old])
    return whole


KINDS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "classification": lambda document: document,
    "eleven classes": of_many_classes,
    "segmentation": of_masks,
    "volumes": of_volumes,
    "multilabel": of_labels,
    "nodes": of_nodes,
    "six regions": of_many_regions,
}
"""What makes each kind of report of the full document."""
