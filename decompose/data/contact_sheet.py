"""A contact sheet of the data: a few samples of every class, label or structure of every region, one per row."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from lorkit.decompose.artifacts import write_bytes
from lorkit.decompose.artifacts.masks import of_structure
from lorkit.decompose.data.samples.label_table import MULTILABEL, POSITIVE
from lorkit.decompose.data.samples.samples import RegionSamples
from lorkit.decompose.errors import StorageError, UsageError
from lorkit.decompose.regions import NODE

TILE, MARGIN = 96, 4
_LABEL = 150
_OUTLINE = (255, 190, 40)


def contact_sheet(samples: Mapping[str, RegionSamples], path: Path, *, columns: int = 8) -> Path:
    """Write a PNG with a few samples of every class or structure of every region, one per row.

    Volumes are shown as a slice across the last axis: the middle one, or that with most of the structure, which is
    outlined. The sheet shows patients: write it only on request, never into an artifact.

    Args:
        samples: Regions to show.
        path: The PNG to write.
        columns: Samples per class, evenly spaced over its patients.

    Raises:
        UsageError: A region is a graph, whose nodes have no picture.
        StorageError: The file cannot be written.
    """
    if graphs := [name for name, one in samples.items() if one.region.task == NODE]:
        raise UsageError(
            f"a contact sheet of {', '.join(graphs)}, which are graphs",
            required="regions of images",
            fix="leave it out",
        )
    rows = [(region, label) for region in samples.values() for label in range(len(region.region.classes))]
    step = TILE + MARGIN
    sheet = Image.new("RGB", (_LABEL + columns * step + MARGIN, len(rows) * step + MARGIN), (16, 18, 22))
    pen = ImageDraw.Draw(sheet)
    for row, (region, label) in enumerate(rows):
        top = MARGIN + row * step
        members = np.flatnonzero(_shown(region, label))
        text = f"{region.region.name}\n{region.region.classes[label]}\nn = {len(members)}"
        pen.multiline_text((8, top + 24), text, fill=(225, 228, 232), spacing=6)
        chosen = members[np.linspace(0, len(members) - 1, min(columns, len(members))).round().astype(np.int64)]
        for column, index in enumerate(chosen.tolist()):
            sheet.paste(image_tile(*_slice(region, index, label)), (_LABEL + column * step, top))
    stream = io.BytesIO()
    sheet.save(stream, format="PNG")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, stream.getvalue())
    except OSError as error:
        raise StorageError(
            f"{path} cannot be written ({error})", required="a writable location", fix="name another"
        ) from None
    return path


def _shown(samples: RegionSamples, label: int) -> NDArray[np.bool_]:
    """Return which samples are of a class, or show a label or a structure."""
    if samples.present is not None:
        return samples.present[:, label]
    shown: NDArray[np.bool_] = (
        samples.labels[:, label] == POSITIVE if samples.task == MULTILABEL else samples.labels == label
    )
    return shown


def _slice(samples: RegionSamples, index: int, label: int) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
    """Return a 2D image of a sample and the mask of a structure; of a volume, the slice with most of it."""
    image = samples.images[index]
    where = None if samples.masks is None else of_structure(samples.masks[index], label + 1)
    if samples.dims == 2:
        return image, where
    middle = image.shape[-1] // 2 if where is None else int(where.sum((0, 1)).argmax())
    return image[..., middle].T[::-1], None if where is None else where[..., middle].T[::-1]


def image_tile(image: NDArray[Any], where: NDArray[np.bool_] | None = None) -> Image.Image:
    """Return an image (H, W) or (H, W, 3) as a tile: contrast stretched, aspect ratio kept, `where` outlined."""
    values = image.astype(np.float32)
    low, high = float(values.min()), float(values.max())
    if image.dtype != np.uint8:
        values = (values - low) / max(high - low, 1e-12) * 255
    picture = Image.fromarray(values.round().astype(np.uint8)).convert("RGB")
    if where is not None:
        inner = where[1:-1, 1:-1] & where[:-2, 1:-1] & where[2:, 1:-1] & where[1:-1, :-2] & where[1:-1, 2:]
        picture.paste(_OUTLINE, mask=Image.fromarray(where & ~np.pad(inner, 1)))
    picture.thumbnail((TILE, TILE))
    if max(picture.size) < TILE:
        factor = TILE / max(picture.size)
        picture = picture.resize((round(picture.width * factor), round(picture.height * factor)))
    tile = Image.new("RGB", (TILE, TILE))
    tile.paste(picture, ((TILE - picture.width) // 2, (TILE - picture.height) // 2))
    return tile
