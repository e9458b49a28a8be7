"""Predictions of a classifier: a label with probabilities for each image, as rows of a document and of a table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lorkit.decompose.artifacts.arrays import Float32Array
from lorkit.decompose.documents.predict import LabelledImage, LabelProbability, PredictDocument, PredictedImage
from lorkit.decompose.tasks.classification import most_probable
from lorkit.export.prediction.network import LoadedNetwork, checked, read_and_prepare


def rows(network: LoadedNetwork, paths: Sequence[Path], top: int, allow_out_of_region: bool) -> list[PredictedImage]:
    """Label images that fit into memory together; `label` is None for images that do not look like the region.

    Raises:
        DataError: An image cannot be read.
    """
    images = np.stack([read_and_prepare(network, path)[0] for path in paths])
    classes = network.region.classes
    decoded = most_probable(network.region, network.run(images), top=len(classes))
    return [
        _row(network, path, image, ranked, top, allow_out_of_region)
        for path, image, ranked in zip(paths, images, decoded, strict=True)
    ]


def _row(
    network: LoadedNetwork,
    path: Path,
    image: Float32Array,
    ranked: Sequence[LabelProbability],
    top: int,
    allow_out_of_region: bool,
) -> LabelledImage:
    found = checked(network, image)
    refused = found.out_of_region is True and not allow_out_of_region
    probabilities = {entry.label: entry.probability for entry in ranked}
    return LabelledImage(
        input=str(path),
        label=None if refused else ranked[0].label,
        probability=None if refused else ranked[0].probability,
        probabilities=None if refused else {name: probabilities[name] for name in network.region.classes},
        top=[] if refused else list(ranked[: max(1, top)]),
        **found._asdict(),
    )


def table(document: PredictDocument) -> list[list[str]]:
    """Return the lines of `predictions.csv`, the header first."""
    lines = [["input", "label", "out_of_region", *(f"p_{name}" for name in document.classes)]]
    for row in document.predictions:
        assert isinstance(row, LabelledImage)
        values = row.probabilities or {}
        shares = [f"{values[name]:.6f}" if name in values else "" for name in document.classes]
        lines.append([row.input, row.label or "", cell(row.out_of_region), *shares])
    return lines


def cell(value: bool | None) -> str:
    """Return a Boolean for a table; empty if unknown."""
    return "" if value is None else str(value).lower()
