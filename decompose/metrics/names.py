"""Names of metrics as people write them."""

from __future__ import annotations

METRICS = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "auroc": "AUROC",
    "ece": "ECE",
    "dice": "mean Dice",
    "nsd": "surface Dice",
    "hd95": "HD95",
}
