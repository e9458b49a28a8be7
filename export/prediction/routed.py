"""Predictions where the region is unknown: a region, its confidence, and the answer of its head for each image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from lorkit.decompose.artifacts.arrays import Bits, Float32Array, Mask
from lorkit.decompose.documents.heads import REGION_PROBABILITIES, Head, Mixture
from lorkit.decompose.documents.predict import (
    HeadAnswer,
    LabelledImage,
    MultilabelImage,
    PredictDocument,
    RoutedImage,
    SegmentedImage,
)
from lorkit.decompose.tasks import get_task
from lorkit.decompose.tasks.routed_answers import RoutedAnswers, routed_answers
from lorkit.export.prediction import classification, multilabel, segmentation
from lorkit.export.prediction.preparation import PreparedImage
from lorkit.export.prediction.writers.target import MaskTarget

_COLUMNS = ("input", "region", "confidence", "answer", "probability", "labels", "mask")


def answers_of(
    mixture: Mixture, outputs: Mapping[str, Float32Array], *, allow_out_of_region: bool = False
) -> RoutedAnswers:
    """Return the answers of a router to a batch; with `allow_out_of_region` it always gives one."""
    limit = None if allow_out_of_region else mixture.abstain_below
    names = [head.region for head in mixture.heads]
    return routed_answers(outputs, names, policy=mixture.policy, abstain_below=limit)


def rows(
    mixture: Mixture,
    images: Sequence[PreparedImage],
    outputs: Mapping[str, Float32Array],
    targets: Sequence[MaskTarget | None],
    *,
    top: int = 1,
    allow_out_of_region: bool = False,
) -> tuple[list[RoutedImage], list[Mask | Bits | None]]:
    """Return one row per image of a batch, and its mask as `segmentation.masked_row` does; None where it has none.

    Args:
        mixture: The heads of the router and what its answer is.
        images: The images.
        outputs: Its outputs for them, by name.
        targets: Files of each image's mask; None writes none.
        top: Number of classes per image.
        allow_out_of_region: Whether images below the confidence get an answer too.
    """
    found = answers_of(mixture, outputs, allow_out_of_region=allow_out_of_region)
    probability_NT = outputs[REGION_PROBABILITIES]
    heads = {head.region: head for head in mixture.heads}
    result, masks = [], list[Mask | Bits | None]()
    for index, (image, target) in enumerate(zip(images, targets, strict=True)):
        logits, region = found.answer(index), found.region(index)
        shares = {name: float(share) for name, share in zip(heads, probability_NT[index], strict=True)}
        prediction, mask = (None, None) if logits is None else _answer(heads[region], image, logits, target, top)
        row = RoutedImage(
            input=str(image.path),
            region=None if logits is None else region,
            confidence=float(found.confidence_N[index]),
            region_probabilities=shares,
            prediction=prediction,
        )
        if mixture.policy == "all-heads":
            every = {
                name: _answer(head, image, outputs[head.output][index], None, top)[0] for name, head in heads.items()
            }
            row = row.with_changes(head_answers=every)
        result.append(row)
        masks.append(mask)
    return result, masks


def needs_masks(mixture: Mixture) -> bool:
    """Return whether a head of a router gives masks."""
    return any(get_task(head.task).dense for head in mixture.heads)


def table(document: PredictDocument) -> list[list[str]]:
    """Return the lines of `predictions.csv`, the header first."""
    lines = [list(_COLUMNS)]
    for row in document.predictions:
        assert isinstance(row, RoutedImage)
        label, share, labels, mask = "", "", "", ""
        if isinstance(row.prediction, LabelledImage) and row.prediction.probability is not None:
            label, share = row.prediction.label or "", f"{row.prediction.probability:.6f}"
        elif isinstance(row.prediction, MultilabelImage):
            named = row.prediction.labels or {}
            labels = ";".join(f"{name}={one.answer}" for name, one in named.items())
        elif isinstance(row.prediction, SegmentedImage):
            mask = row.prediction.mask or ";".join((row.prediction.masks or {}).values())
        lines.append([row.input, row.region or "", f"{row.confidence:.6f}", label, share, labels, mask])
    return lines


def _answer(
    head: Head, image: PreparedImage, logits: Float32Array, target: MaskTarget | None, top: int
) -> tuple[HeadAnswer, Mask | Bits | None]:
    if get_task(head.task).dense:
        return segmentation.masked_row(head.as_region(), image, logits, target)
    if head.task == "multilabel":
        return multilabel.row(head, image, logits), None
    return classification.row(head.as_region(), image, np.asarray(logits), top), None
