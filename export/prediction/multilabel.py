"""Predictions of a multilabel network: probability and answer of each label, as rows of a document and of a table."""

from __future__ import annotations

from typing import Literal

from lorkit.decompose.artifacts.arrays import Float32Array
from lorkit.decompose.documents.network import RegionInfo
from lorkit.decompose.documents.predict import LabelAnswer, MultilabelImage, PredictDocument
from lorkit.decompose.metrics.probabilities import expit
from lorkit.export.prediction.classification import cell
from lorkit.export.prediction.preparation import PreparedImage


def row(info: RegionInfo, image: PreparedImage, logits: Float32Array | None) -> MultilabelImage:
    """Return the answers for an image by the thresholds of the network; None as `logits` (labels,) refuses it."""
    labels = None if logits is None else answers(info, logits)
    return MultilabelImage(input=str(image.path), labels=labels, **image.check._asdict())


def answers(info: RegionInfo, logits: Float32Array) -> dict[str, LabelAnswer]:
    """Return the answer of each label for one image's logits (labels,)."""
    limits = [None] * len(info.classes) if info.decision is None else info.decision.limits(info.classes)
    shares = expit(logits.astype(float)).tolist()
    return {
        name: LabelAnswer(probability=share, threshold=limit, answer=_answer(share, limit))
        for name, share, limit in zip(info.classes, shares, limits, strict=True)
    }


def table(document: PredictDocument) -> list[list[str]]:
    """Return the lines of `predictions.csv`, the header first: probability and answer by label."""
    names = document.classes
    lines = [["input", "out_of_region", *(f"p_{name}" for name in names), *names]]
    for row in document.predictions:
        assert isinstance(row, MultilabelImage)
        found = row.labels or {}
        shares = [f"{found[name].probability:.6f}" if name in found else "" for name in names]
        answers = [found[name].answer if name in found else "" for name in names]
        lines.append([row.input, cell(row.out_of_region), *shares, *answers])
    return lines


def _answer(share: float, limit: float | None) -> Literal["positive", "negative", "uncertain"]:
    if limit is None:
        return "uncertain"
    return "positive" if share >= limit else "negative"
