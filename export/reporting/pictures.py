"""Pictures of a report: images with an expert's prediction, masks as outlines, from the samples of exports.

An export contains images of patients only if its run allows that (`privacy.embed_images`), and drawn phantoms; no other
images are shown.

Shapes: (C, *spatial) image, (K,) logits of a classifier, (1 + S, *spatial) logits of a segmenter, (*spatial) mask; a
volume is shown as one slice across its last axis, the axial plane, with the patient's right on the left and the front
at the top.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lorkit.decompose.artifacts.arrays import Bits, Float32Array, Mask
from lorkit.decompose.artifacts.masks import largest_structure, of_structure
from lorkit.decompose.data.preprocessing.decoding import decode
from lorkit.decompose.documents.heads import LOGITS
from lorkit.decompose.documents.report import ClassProbability, Picture
from lorkit.decompose.metrics.probabilities import expit, softmax
from lorkit.decompose.metrics.segmentation import mask_dice
from lorkit.decompose.regions import Region
from lorkit.decompose.tasks import get_task
from lorkit.export.building.samples import read_samples
from lorkit.export.prediction.masks import colour, outline
from lorkit.export.runtime.exported import Exported

_MOST = 4
_MOST_LABELLED = 6
_SIDE = 256
_SIDE_LABELLED = 144
_NAMED = 3
"""Number of classes below an image."""
_WHITE = (255, 255, 255)


def pictures_of(exports: Sequence[Exported]) -> dict[str, list[Picture]]:
    """Draw a few cases of each region, from the first export of its expert with samples."""
    found: dict[str, list[Picture]] = {}
    for one in exports:
        shown = one.owner == "expert" and one.info.kept_samples is not None and one.info.kept_samples.inputs != "seeded"
        shown = shown and one.info.recipe.nodes is None  # there is no picture of a node
        if shown and not found.get(one.region.name):
            found[one.region.name] = _drawn(one)
        found.setdefault(one.region.name, [])
    return found


def _drawn(exported: Exported) -> list[Picture]:
    samples, classes = read_samples(exported), exported.classes
    logits = samples.outputs[LOGITS]
    cases: Sequence[int] = range(len(samples.images))
    if logits.ndim > 2:
        masks = samples.masks
        return [
            _outlined(samples.images[at], logits[at], None if masks is None else masks[at], exported.region)
            for at in cases[:_MOST]
        ]
    labels = None if samples.labels is None else samples.labels.tolist()
    if exported.info.cuts is not None:
        truths = [None] * len(samples.images) if labels is None else labels
        return [
            _many(samples.images[at], logits[at], truths[at], classes, exported.info.cuts)
            for at in cases[:_MOST_LABELLED]
        ]
    if labels is not None:  # each class once before any class twice
        cases = sorted(sorted(cases, key=lambda at: labels[:at].count(labels[at]))[:_MOST_LABELLED])
    return [
        _labelled(samples.images[at], logits[at], None if labels is None else labels[at], classes)
        for at in cases[:_MOST_LABELLED]
    ]


def _labelled(image: Float32Array, logits: Float32Array, label: int | None, classes: Sequence[str]) -> Picture:
    at = None if image.ndim == 3 else image.shape[-1] // 2
    plane = _plane(image, at)
    drawn = _enlarged(plane, max(1, -(-_SIDE_LABELLED // max(plane.shape[1:]))))
    shares = softmax(logits.astype(np.float64))
    order = np.argsort(-shares, kind="stable")[:_NAMED]
    top = [ClassProbability(**{"class": classes[k], "probability": float(shares[k])}) for k in order.tolist()]
    truth = None if label is None else classes[label]
    return _picture(drawn, at, label is not None, truth=truth, answer=top[0].class_name, top=top)


def _many(
    image: Float32Array,
    logits: Float32Array,
    labels: Sequence[int] | None,
    names: Sequence[str],
    cuts: Sequence[float],
) -> Picture:
    """Draw a case of several labels: truth and answer name the positive ones of those that are known."""
    at = None if image.ndim == 3 else image.shape[-1] // 2
    plane = _plane(image, at)
    drawn = _enlarged(plane, max(1, -(-_SIDE_LABELLED // max(plane.shape[1:]))))
    shares, said = expit(logits.astype(np.float64)), logits >= np.asarray(cuts)
    top = [
        ClassProbability.model_validate({"class": name, "probability": float(share)})
        for name, share in zip(names, shares, strict=True)
    ]
    known = [k for k in range(len(names)) if labels is None or labels[k] >= 0]
    answer = _named_labels([names[k] for k in known if said[k]])
    if labels is None or not known:
        return _picture(drawn, at, False, answer=answer, top=top)
    truth = _named_labels([names[k] for k in known if labels[k] > 0])
    return _picture(drawn, at, True, truth=truth, answer=answer, top=top)


def _named_labels(names: Sequence[str]) -> str:
    return ", ".join(names) or "none of the labels"


def _outlined(image: Float32Array, logits: Float32Array, wanted: Mask | Bits | None, region: Region) -> Picture:
    structures, mask = region.classes, decode(logits, exclusive=get_task(region.task).exclusive)
    dice: dict[str, float | None] = {}
    if wanted is not None:
        scores = mask_dice(mask, wanted, len(structures)).tolist()
        dice = {name: None if np.isnan(value) else value for name, value in zip(structures, scores, strict=True)}
    at = None if mask.ndim == 2 else _fullest(mask if wanted is None else wanted)
    plane = _plane(image, at)
    drawn = overlay(plane, _plane(mask[None], at)[0], None if wanted is None else _plane(wanted[None], at)[0])
    return _picture(drawn, at, wanted is not None, dice_by_structure=dice)


def overlay(image: Float32Array, mask: Mask | Bits, wanted: Mask | Bits | None) -> NDArray[np.uint8]:
    """Return an image with outlines: the true mask in white, the predicted one in colour above it.

    Args:
        image: (C, H, W) in [0, 1].
        mask: (H, W), predicted.
        wanted: (H, W), true.

    Returns:
        (h, w, 3), enlarged by a whole number so that an outline hides less than a pixel.
    """
    factor = max(1, -(-_SIDE // max(mask.shape)))
    plain = _enlarged(image, factor)
    lined = plain.copy()
    for labels, tint in ((wanted, _WHITE), (mask, None)):
        if labels is None:
            continue
        large = labels.repeat(factor, axis=0).repeat(factor, axis=1)
        for structure in range(1, largest_structure(labels) + 1):
            lined[outline(of_structure(large, structure))] = tint or colour(structure)
    gap = np.full((plain.shape[0], 4, 3), 255, dtype=np.uint8)
    return np.concatenate([plain, gap, lined], axis=1)


def _enlarged(image: Float32Array, factor: int) -> NDArray[np.uint8]:
    """Return (h, w, 3) pixels of an image (C, H, W) in [0, 1], gray unless it has three channels."""
    gray = image[:1] if image.shape[0] != 3 else image
    size = (image.shape[2] * factor, image.shape[1] * factor)
    planes = [Image.fromarray(np.ascontiguousarray(plane)).resize(size, Image.Resampling.BICUBIC) for plane in gray]
    plain = np.stack([np.asarray(plane) for plane in planes] * (3 // len(planes)), axis=-1)
    return np.clip(plain * 255.0 + 0.5, 0, 255).astype(np.uint8)


def _picture(pixels: NDArray[np.uint8], at: int | None, annotated: bool, **answer: object) -> Picture:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format="PNG", optimize=True)
    png = base64.b64encode(stream.getvalue()).decode("ascii")
    height, width, _ = pixels.shape
    return Picture.model_validate(
        {"png": png, "width": width, "height": height, "slice": at, "annotated": annotated, **answer}
    )


def _fullest(mask: Mask | Bits) -> int:
    return int((mask > 0).sum(axis=(0, 1)).argmax())


def _plane(values: NDArray[Any], at: int | None) -> NDArray[Any]:
    """Return (C, H, W) of an image, or of a slice of a volume, in display orientation."""
    return values if at is None else values[..., at].transpose(0, 2, 1)[:, ::-1, ::-1]
