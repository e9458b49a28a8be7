"""What a classifier answers: a label with probabilities for each image, as rows of a document and of a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lorkit.decompose.data.preprocessing import region_check
from lorkit.decompose.tasks import get_task
from lorkit.export.prediction.network import LoadedNetwork, read_and_prepare


def rows(network: LoadedNetwork, paths: Sequence[Path], top: int, allow_out_of_region: bool) -> list[dict[str, Any]]:
    """Label images that fit into memory together; `label` is None where one does not look like the region.

    Raises:
        DataError: An image cannot be read.
    """
    images = np.stack([read_and_prepare(network, path)[0] for path in paths])
    classes = network.region.classes
    decoded = get_task(network.region.task).decode(network.region, network.run(images), top=len(classes))
    check = network.info.get("in_region")
    found_rows = []
    for path, image, found in zip(paths, images, decoded, strict=True):
        distance, limit, inside = region_check.check(check, image) if check else (None, None, None)
        probabilities = {entry["label"]: entry["probability"] for entry in found["top"]}
        row = {
            "input": str(path),
            "label": found["label"],
            "probability": found["probability"],
            "probabilities": {name: probabilities[name] for name in classes},
            "top": found["top"][: max(1, top)],
            "out_of_region": None if inside is None else not inside,
            "distance": distance,
            "limit": limit,
        }
        if inside is False and not allow_out_of_region:
            row |= {"label": None, "probability": None, "probabilities": None, "top": []}
        found_rows.append(row)
    return found_rows


def table(document: Mapping[str, Any]) -> list[list[str]]:
    """Return the lines of `predictions.csv`, the header first."""
    lines = [["input", "label", "out_of_region", *(f"p_{name}" for name in document["classes"])]]
    for row in document["predictions"]:
        values = row["probabilities"] or {}
        shares = [f"{values[name]:.6f}" if name in values else "" for name in document["classes"]]
        lines.append([row["input"], row["label"] or "", cell(row["out_of_region"]), *shares])
    return lines


def cell(value: bool | None) -> str:
    """Write a truth into a table; what is not known is empty."""
    return "" if value is None else str(value).lower()
