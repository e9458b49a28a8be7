"""A picture of predictions: the images in rows by answer, with the probability below each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from lorkit.decompose.artifacts import write_bytes
from lorkit.decompose.artifacts.arrays import Float32Array
from lorkit.decompose.data.contact_sheet import MARGIN, TILE, image_tile
from lorkit.decompose.documents.predict import (
    LabelledImage,
    MultilabelImage,
    PredictedImage,
    RoutedImage,
    SegmentedImage,
)
from lorkit.export.prediction.masks import encode_png

_LEFT, _CAPTION, _COLUMNS = 190, 16, 10
_PAPER, _INK, _SOFT = (16, 18, 22), (225, 228, 232), (150, 156, 164)
NO_ANSWER = "no answer"


def prediction_sheet(rows: Sequence[PredictedImage], values: Sequence[Float32Array], path: Path) -> Path:
    """Write a PNG with the images of each answer, at most ten per answer, evenly spaced.

    The sheet shows patients: write it only on request.

    Args:
        rows: The predictions.
        values: The prepared image of each, (C, *spatial).
        path: The PNG to write.

    Raises:
        StorageError: The file cannot be written.
    """
    members: dict[str, list[int]] = {}
    for index, row in enumerate(rows):
        members.setdefault(answer_of(row), []).append(index)
    named = sorted(members, key=lambda text: (text == NO_ANSWER, text))
    step = TILE + MARGIN + _CAPTION
    widest = min(_COLUMNS, max(map(len, members.values())))
    size = (_LEFT + widest * (TILE + MARGIN) + MARGIN, len(named) * step + MARGIN)
    sheet = Image.new("RGB", size, _PAPER)
    pen = ImageDraw.Draw(sheet)
    for line, text in enumerate(named):
        top, own = MARGIN + line * step, members[text]
        pen.multiline_text((8, top + 28), "\n".join([*_wrapped(text), f"n = {len(own)}"]), fill=_INK, spacing=5)
        chosen = np.linspace(0, len(own) - 1, min(_COLUMNS, len(own))).round().astype(int)
        for column, place in enumerate(chosen.tolist()):
            left = _LEFT + column * (TILE + MARGIN)
            sheet.paste(image_tile(_shown(values[own[place]])), (left, top))
            pen.text((left + 2, top + TILE + 1), caption(rows[own[place]]), fill=_SOFT)
    write_bytes(path, encode_png(sheet))
    return path


def answer_of(row: PredictedImage) -> str:
    """Return what an image is shown under: its region and class, its positive labels, or its structures."""
    if isinstance(row, RoutedImage):
        return NO_ANSWER if row.prediction is None else f"{row.region}: {answer_of(row.prediction)}"
    if row.refused:
        return NO_ANSWER
    if isinstance(row, LabelledImage):
        return str(row.label)
    if isinstance(row, MultilabelImage):
        positive = [name for name, one in (row.labels or {}).items() if one.answer == "positive"]
        return ", ".join(positive) or "no label"
    assert isinstance(row, SegmentedImage)
    found = [name for name, size in (row.structures or {}).items() if size.pixels or size.voxels]
    return ", ".join(found) or "no structure"


def caption(row: PredictedImage) -> str:
    """Return the probability of an image's class, or the confidence of its region."""
    if isinstance(row, RoutedImage):
        inner = "" if row.prediction is None else caption(row.prediction)
        return inner or f"confidence {row.confidence:.2f}"
    return f"{row.probability:.2f}" if isinstance(row, LabelledImage) and row.probability is not None else ""


def _wrapped(text: str, most: int = 26) -> Iterator[str]:
    while len(text) > most:
        cut = text.rfind(" ", 0, most)
        cut = cut if cut > 0 else most
        yield text[:cut]
        text = text[cut:].lstrip()
    yield text


def _shown(values_CS: Float32Array) -> Float32Array:
    """Return a 2D image (H, W) or (H, W, 3): of a volume its middle slice across the last axis."""
    if values_CS.ndim == 4:
        values_CS = np.flip(values_CS[..., values_CS.shape[-1] // 2].swapaxes(1, 2), axis=1)
    return values_CS[0] if len(values_CS) == 1 else np.moveaxis(values_CS[:3], 0, -1)
