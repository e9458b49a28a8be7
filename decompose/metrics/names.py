"""Names of metrics in texts."""

from __future__ import annotations

METRICS = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "auroc": "AUROC",
    "ap": "AP",
    "recall_at_k": "recall at k",
    "f1_macro": "macro F1",
    "gmean": "G-mean",
    "headline": "headline metric",
    "ece": "ECE",
    "dice": "mean Dice",
    "nsd": "surface Dice",
    "hd95": "HD95",
    "dice_network_grid": "mean Dice on the network's grid",
    "volume_bias": "volume bias",
    "volume_bias_relative": "relative volume bias",
}
