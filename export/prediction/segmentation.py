"""Predictions of a segmentation network: a mask on the grid of each image, and the size of each structure.

A mask is computed at the network's size: probabilities are interpolated to the image's size, and the orientation of the
file or series is restored, so that image and mask match in any viewer.

Shapes: S structures; a mask is (H, W), or a volume in the axes of the image as read.
"""

from __future__ import annotations

from lorkit.decompose.artifacts.arrays import Bits, Float32Array, Mask
from lorkit.decompose.data.preprocessing.decoding import decode_at
from lorkit.decompose.documents.predict import PredictDocument, SegmentedImage
from lorkit.decompose.regions import Region
from lorkit.decompose.tasks import get_task
from lorkit.export.prediction.classification import cell
from lorkit.export.prediction.preparation import PreparedImage
from lorkit.export.prediction.preview import preview
from lorkit.export.prediction.statistics import image_statistics
from lorkit.export.prediction.structures import PLAIN, MaskOptions, kept_labels, labelled, sizes_of
from lorkit.export.prediction.writers.base import LabelledMask
from lorkit.export.prediction.writers.target import MaskTarget


def row(
    region: Region,
    image: PreparedImage,
    logits: Float32Array | None,
    target: MaskTarget | None,
    options: MaskOptions = PLAIN,
) -> SegmentedImage:
    """Return the sizes of the structures in an image, and write its mask; as `masked_row` without the mask."""
    return masked_row(region, image, logits, target, options)[0]


def masked_row(
    region: Region,
    image: PreparedImage,
    logits: Float32Array | None,
    target: MaskTarget | None,
    options: MaskOptions = PLAIN,
    *,
    mask: Mask | Bits | None = None,
) -> tuple[SegmentedImage, Mask | Bits | None]:
    """Return the sizes of the structures in an image, and its mask in the axes of the image as read; write the mask.

    Args:
        region: The region of the network.
        image: The image.
        logits: Its (K, *spatial); None refuses it, if it has no `mask` either.
        target: The files of the mask; None only measures it.
        options: Which structures are kept, and what else is made.
        mask: In place of logits, the mask that was decoded already.

    Raises:
        DataError: The mask cannot be written in its format, or statistics are asked for of a picture.
    """
    exclusive = get_task(region.task).exclusive
    decoded = decode_at(logits, image.size, exclusive=exclusive) if logits is not None else mask
    if decoded is None:
        return refused_row(image), None
    labels = kept_labels(region, options.structures)
    found = labelled(image.path, region, decoded, labels)
    return described(image, found, target, options), found.values


def refused_row(image: PreparedImage) -> SegmentedImage:
    """Return the row of an image that gets no mask."""
    return SegmentedImage(
        input=str(image.path), mask=None, size=list(image.size), structures=None, **image.check._asdict()
    )


def described(
    image: PreparedImage, mask: LabelledMask, target: MaskTarget | None, options: MaskOptions
) -> SegmentedImage:
    """Return the row of an image with its mask, and write what is asked for."""
    names = [] if target is None else target.write(mask)
    found = SegmentedImage(
        input=str(image.path),
        mask=names[0] if len(names) == 1 else None,
        size=list(image.size),
        structures=sizes_of(mask, image.voxel_ml),
        **image.check._asdict(),
    )
    more: dict[str, object] = {}
    if len(names) > 1:
        more["masks"] = dict(zip((label.name for label in mask.labels), names, strict=True))
    if image.stored is not None and options.statistics:
        more["statistics"] = image_statistics(image.stored, mask)
    if image.stored is not None and options.preview and target is not None:
        more["preview"] = target.preview
        target.spool.add(target.preview, preview(image.stored, mask))
    return found.with_changes(**more) if more else found


def table(document: PredictDocument) -> list[list[str]]:
    """Return the lines of `predictions.csv`, the header first: pixels, or voxels and millilitres, by structure."""
    rows = [row for row in document.predictions if isinstance(row, SegmentedImage)]
    sizes = [size for row in rows for size in (row.structures or {}).values()]
    units = [unit for unit in ("pixels", "voxels", "ml") if any(getattr(size, unit) is not None for size in sizes)]
    columns = [(name, unit) for name in document.classes for unit in units]
    judged, not_judged = (["judged"], ["no"]) if document.fast else ([], [])
    lines = [["input", "mask", "out_of_region", *judged, *(f"{unit}_{name}" for name, unit in columns)]]
    for row in rows:
        found = row.structures or {}
        values = [getattr(found[name], unit) if name in found else None for name, unit in columns]
        written = ["" if value is None else f"{value:.4f}" if unit == "ml" else str(value)
                   for value, (_, unit) in zip(values, columns, strict=True)]  # fmt: skip
        files = row.mask or ";".join((row.masks or {}).values())
        lines.append([row.input, files, cell(row.out_of_region), *not_judged, *written])
    return lines
