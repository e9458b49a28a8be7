"""Predictions of a classifier: a label with probabilities for each image, as rows of a document and of a table."""

from __future__ import annotations

from collections.abc import Sequence

from lorkit.decompose.artifacts.arrays import Float32Array
from lorkit.decompose.documents.predict import LabelledImage, LabelProbability, PredictDocument
from lorkit.decompose.regions import Region
from lorkit.decompose.tasks.classification import most_probable
from lorkit.export.prediction.preparation import PreparedImage


def rows(
    region: Region, images: Sequence[PreparedImage], logits_NC: Float32Array, top: int, *, allow_out_of_region: bool
) -> list[LabelledImage]:
    """Return the label of each image and its `top` classes; none where it was refused."""
    ranked = most_probable(region, logits_NC, top=len(region.classes))
    return [
        _row(region, image, [] if image.check.out_of_region is True and not allow_out_of_region else own, top)
        for image, own in zip(images, ranked, strict=True)
    ]


def row(region: Region, image: PreparedImage, logits: Float32Array, top: int) -> LabelledImage:
    """Return the label of an image with logits (classes,), and its `top` classes."""
    return _row(region, image, most_probable(region, logits[None], top=len(region.classes))[0], top)


def _row(region: Region, image: PreparedImage, ranked: Sequence[LabelProbability], top: int) -> LabelledImage:
    """Return the row of an image by its classes, the most probable first; none refuse it."""
    probabilities = {entry.label: entry.probability for entry in ranked}
    return LabelledImage(
        input=str(image.path),
        label=ranked[0].label if ranked else None,
        probability=ranked[0].probability if ranked else None,
        probabilities={name: probabilities[name] for name in region.classes} if ranked else None,
        top=list(ranked[: max(1, top)]),
        **image.check._asdict(),
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
