"""A picture of a mask on its image: for volumes slices along three axes, with an outline of each structure.

Slices are shown as radiologists read them: the patient's right on the left, the front or the head on top.

Shapes: H W a picture, D H W a volume in right, anterior, superior axes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from lorkit.decompose.data.formats.stored import StoredImage
from lorkit.export.prediction.masks import colour, encode_png, outline
from lorkit.export.prediction.structures import counts_of
from lorkit.export.prediction.writers.base import LabelledMask, MaskLabel

_SIDE, _MARGIN, _CAPTION, _LINE = 320, 8, 18, 16
_PAPER, _INK, _SOFT = (16, 18, 22), (225, 228, 232), (150, 156, 164)
_PERCENTILES = (0.5, 99.5)
_MOST_NAMED = 24


class _View(NamedTuple):
    """A slice across one axis, and the axes that run up and to the left in it."""

    name: str
    across: int
    up: int
    left: int


_VIEWS = (_View("axial", 2, 1, 0), _View("coronal", 1, 2, 0), _View("sagittal", 0, 2, 1))


def preview(image: StoredImage, mask: LabelledMask) -> bytes:
    """Return a PNG of an image with the outlines of its structures, and a legend.

    Slices go through the place where the structures together are largest, else through the middle. They keep the
    spacing of the file. The picture shows a patient.

    Args:
        image: The image as its file states it.
        mask: Its mask, in the axes to which `image.orient` turns it.
    """
    values = image.orient(image.values)
    shown = [label for label, count in zip(mask.labels, counts_of(mask).values(), strict=True) if count]
    tiles = _slices(image, values, mask, shown) if image.dims == 3 else [_picture(values, mask, shown)]
    return encode_png(_sheet(tiles, shown, len(mask.labels) - len(shown)))


def _slices(
    image: StoredImage, values_DHW: NDArray[Any], mask: LabelledMask, shown: Sequence[MaskLabel]
) -> list[tuple[str, Image.Image]]:
    low, high = np.percentile(values_DHW[tuple(slice(None, None, max(1, side // 96)) for side in values_DHW.shape)],
                              _PERCENTILES)  # fmt: skip
    sides = _oriented_spacing(image, values_DHW.shape)
    tiles = []
    for view in _VIEWS:
        at = _fullest(mask.values, view.across)
        # of one slice at a time: all of a volume in float64 is more than the network needs
        gray = _gray(values_DHW.take(at, axis=view.across), float(low), float(high), inverted=image.inverted)
        plane = _as_shown(gray)
        layers = [(label, _as_shown(_plane_of(mask, label, at, view.across))) for label in shown]
        size = [plane.shape[0] * sides[view.up], plane.shape[1] * sides[view.left]]
        tiles.append((f"{view.name}, slice {at + 1} of {values_DHW.shape[view.across]}", _tile(plane, layers, size)))
    return tiles


def _picture(values: NDArray[Any], mask: LabelledMask, shown: Sequence[MaskLabel]) -> tuple[str, Image.Image]:
    low, high = np.percentile(values, _PERCENTILES)
    layers = [(label, mask.layer(label)) for label in shown]
    return "", _tile(_gray(values, float(low), float(high)), layers, values.shape[:2])


def _plane_of(mask: LabelledMask, label: MaskLabel, at: int, axis: int) -> NDArray[np.bool_]:
    plane = LabelledMask(mask.path, mask.values.take(at, axis=axis), mask.labels, mask.overlapping)
    return plane.layer(label)


def _fullest(mask_DHW: NDArray[Any], axis: int) -> int:
    """Return the slice with most voxels of structures; the middle one of an empty mask."""
    others = tuple(one for one in range(3) if one != axis)
    filled = np.count_nonzero(mask_DHW, axis=others)
    return int(filled.argmax()) if filled.any() else mask_DHW.shape[axis] // 2


def _as_shown(plane: NDArray[Any]) -> NDArray[Any]:
    """Turn a slice of a volume in RAS axes: the later axis runs up, the earlier one to the left."""
    return np.flip(plane.T)


def _oriented_spacing(image: StoredImage, shape: Sequence[int]) -> list[float]:
    """Return the spacing of the axes of `image.orient(image.values)`, all 1 where the file states none."""
    if image.spacing_mm is None or len(image.spacing_mm) != 3:
        return [1.0, 1.0, 1.0]
    order = (0, 1, 2) if image.axes is None else tuple(
        next((axis for axis, letter in enumerate(image.axes) if letter in pair), place)
        for place, pair in enumerate(("RL", "AP", "SI"))
    )  # fmt: skip
    return [image.spacing_mm[axis] for axis in order]


def _gray(values: NDArray[Any], low: float, high: float, *, inverted: bool = False) -> NDArray[np.uint8]:
    unit = np.clip((values.astype(np.float32) - low) / max(high - low, 1e-12), 0.0, 1.0)
    return np.asarray(((1.0 - unit if inverted else unit) * 255).round().astype(np.uint8))


def _tile(
    plane: NDArray[np.uint8], layers: Sequence[tuple[MaskLabel, NDArray[np.bool_]]], size: Sequence[float]
) -> Image.Image:
    """Return a slice, enlarged to the side of a tile, with outlines of one pixel of the enlarged picture."""
    factor = _SIDE / max(size)
    height, width = (max(1, round(side * factor)) for side in size)
    picture = Image.fromarray(np.ascontiguousarray(plane)).convert("RGB")
    picture = picture.resize((width, height), Image.Resampling.BILINEAR)
    for label, where in layers:
        large = Image.fromarray(np.ascontiguousarray(where)).resize((width, height), Image.Resampling.NEAREST)
        picture.paste(colour(label.value), mask=Image.fromarray(outline(np.asarray(large))))
    return picture


def _sheet(tiles: Sequence[tuple[str, Image.Image]], shown: Sequence[MaskLabel], empty: int) -> Image.Image:
    names = [label.name for label in shown[:_MOST_NAMED]]
    rest = [f"and {len(shown) - _MOST_NAMED} more"] if len(shown) > _MOST_NAMED else []
    rest += [f"{empty} empty"] if empty else []
    probe = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    widest = max([probe.textlength(text) for text in [*names, *rest]], default=0.0)
    left = _MARGIN + sum(picture.width + _MARGIN for _, picture in tiles)
    lines = len(names) + len(rest)
    inside = max(max(picture.height for _, picture in tiles), lines * _LINE)
    sheet = Image.new("RGB", (left + int(widest) + 3 * _MARGIN + 12, inside + 2 * _MARGIN + _CAPTION), _PAPER)
    pen = ImageDraw.Draw(sheet)
    at = _MARGIN
    for text, picture in tiles:
        sheet.paste(picture, (at, _MARGIN))
        pen.text((at, _MARGIN + picture.height + 3), text, fill=_SOFT)
        at += picture.width + _MARGIN
    for line, text in enumerate([*names, *rest]):
        top = _MARGIN + line * _LINE
        if line < len(names):
            pen.rectangle((left, top + 2, left + 10, top + 11), fill=colour(shown[line].value))
        pen.text((left + 18, top), text, fill=_INK if line < len(names) else _SOFT)
    return sheet
