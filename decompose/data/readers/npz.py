"""Reader of `.npz`: `images` (N, H, W[, 3]) or (N, D, H, W) with `labels` or `masks`.

Labels are (N,) class indices or names, or (N, L) of 1, 0 and -1 (uncertain) for several labels per image. Optional are
`label_names` or `mask_names`, `ids`, `groups` and `split`; any other array of N values is a column. The `medmnist`
module reads the layout of MedMNIST (`train_images`, `train_labels`, ...).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lorkit.decompose.artifacts.arrays import MOST_OVERLAPPING, Bits, Mask
from lorkit.decompose.artifacts.masks import join_structures
from lorkit.decompose.config import RegionConfig
from lorkit.decompose.data.formats.npz import keys_of, load_arrays, texts
from lorkit.decompose.data.samples.annotations import without_background
from lorkit.decompose.data.samples.columns import Columns
from lorkit.decompose.data.samples.label_table import MULTILABEL, is_table, to_table
from lorkit.decompose.data.samples.mask_labels import MaskLabels, labels_of, whole_numbers
from lorkit.decompose.data.samples.open_files import OpenFiles
from lorkit.decompose.data.samples.patients import names_patients, stated_groups
from lorkit.decompose.data.samples.samples import SEGMENTATION, STRUCTURES, encode, order_classes, part_name
from lorkit.decompose.data.samples.source import Source
from lorkit.decompose.errors import DataError, UsageError

_KNOWN = ("images", "labels", "masks", "label_names", "mask_names", "ids", "split")


def accepts(entries: list[str]) -> int:
    """Return the number of leading data entries that this reader takes: 1 for an `.npz` in this layout."""
    return int(Path(entries[0]).suffix.lower() == ".npz" and "train_images" not in keys_of(Path(entries[0])))


def read(entries: list[str], config: RegionConfig, files: OpenFiles | None = None) -> Source:
    """Read one file.

    Raises:
        DataError: The file is damaged, pickled, or lacks images, or labels or masks.
        UsageError: It has labels and masks although no task is stated.
    """
    path = Path(entries[0])
    arrays = (files or OpenFiles()).arrays(path, load_arrays)
    images = check_images(path, _required(path, arrays, "images"))
    masks = None
    if task_of(path, arrays, config.task) in (SEGMENTATION, STRUCTURES):
        masks, named = _masks(path, images, _required(path, arrays, "masks"), config)
        labels = np.zeros(len(images), dtype=np.int64)
        classes = named or without_background(texts(arrays.get("mask_names")) or ())
    else:
        names = texts(arrays.get("label_names"))
        labels, classes = read_labels(path, _required(path, arrays, "labels"), names, config)
    ids = texts(arrays.get("ids")) or tuple(f"{path.stem}/{row}" for row in range(len(images)))
    split = texts(arrays.get("split"))
    cells = {
        name: texts(array) or ()
        for name, array in arrays.items()
        if names_patients(name) and array.shape == (len(images),)
    }
    stated = stated_groups(cells, ids)
    return Source(
        images=images,
        labels=labels,
        classes=classes,
        ids=ids,
        groups=stated.groups if stated else ids,
        grouped=stated is not None and stated.grouped,
        notices=stated.notices if stated else (),
        parts=tuple(part_name(text, str(path)) for text in split) if split else (None,) * len(images),
        origin=str(path),
        masks=masks,
        columns=_columns(arrays, len(images)),
    )


def _masks(
    path: Path, images: NDArray[Any], masks: NDArray[Any], config: RegionConfig
) -> tuple[Mask | Bits, tuple[str, ...]]:
    """Return the masks of a file, and the names of structures that the region states with their numbers.

    Where structures may overlap, masks may also be (N, S, *spatial) with 1 where a structure is.

    Raises:
        DataError: Masks of several structures per pixel have other values than 0 and 1, or the region does not say that
            structures may overlap.
    """
    sides = masks.ndim - 2
    stacked = sides >= 2 and masks.shape[2:] == images.shape[1 : 1 + sides] != masks.shape[1 : 1 + sides]
    if not stacked:
        stated = config.structures
        named = labels_of(stated, overlap=config.may_overlap) if isinstance(stated, dict) else MaskLabels()
        return named(masks, str(path)), named.names
    whole = whole_numbers(masks, str(path))
    if not config.may_overlap or isinstance(config.structures, dict) or masks.shape[1] > MOST_OVERLAPPING:
        raise DataError(
            f"{path}: masks of shape {masks.shape}, one for each of {masks.shape[1]} structures",
            required=f"overlap: true in the region, structures without numbers, and at most {MOST_OVERLAPPING} of them",
            fix="state it, or save masks with one number per pixel",
        )
    if whole.size and (whole.min() < 0 or whole.max() > 1):
        raise DataError(
            f"{path}: values {whole.min()} to {whole.max()} in masks with one plane per structure",
            required="1 where a structure is, else 0",
            fix="correct the masks",
        )
    return join_structures(np.moveaxis(whole != 0, 1, 0)), ()


def task_of(path: Path, arrays: Mapping[str, Any], stated: str | None) -> str:
    """Return the task of a file's targets; with labels and masks it must be stated, else raise UsageError."""
    if stated is not None:
        return stated
    if "labels" in arrays and "masks" in arrays:
        raise UsageError(
            f"{path} holds labels and masks",
            required="the region's task: classification, multilabel or segmentation",
            fix="state it as task in the region",
        )
    return SEGMENTATION if "masks" in arrays else "classification"


def check_images(path: Path, images: NDArray[Any]) -> NDArray[Any]:
    """Convert an image array to (N, H, W), (N, H, W, 3) or (N, D, H, W) of uint8, uint16 or float32.

    `image.size` later decides between the last two. Signed integers (CT numbers) become float32, which needs a stated
    window.
    """
    if images.ndim == 4 and images.shape[3] == 1:
        images = images[..., 0]
    if images.ndim not in (3, 4):
        raise DataError(
            f"{path}: images of shape {images.shape}",
            required="(N, H, W) or (N, H, W, 3) 2D images, or (N, D, H, W) volumes",
            fix="save them in that layout",
        )
    if images.dtype.kind == "b":
        return images.astype(np.uint8) * np.uint8(255)
    if images.dtype.kind not in "uif":
        raise DataError(f"{path}: images of dtype {images.dtype}", required="integers or floats", fix="convert them")
    native = images.astype(images.dtype.newbyteorder("="), copy=False)
    with np.errstate(over="ignore"):  # what is infinite is refused where the image is used
        return native if native.dtype in (np.uint8, np.uint16, np.float32) else native.astype(np.float32)


def read_labels(
    path: Path, labels: NDArray[Any], names: tuple[str, ...] | None, config: RegionConfig
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Return (N,) indices and the class names they index, or a table (N, L) of labels and their names.

    Integers index `names`, else the configured classes, else "0", "1", ...; text labels are class names.

    Raises:
        DataError: Labels of another shape or dtype, or as many names as there are not labels.
    """
    stated = config.classes
    if config.task == MULTILABEL or (config.task is None and is_table(labels)):
        table = to_table(labels, str(path))
        named = names or stated or tuple(str(column) for column in range(table.shape[1]))
        if len(named) != table.shape[1]:
            raise DataError(
                f"{path}: {table.shape[1]} labels per image and {len(named)} names ({', '.join(named)})",
                required="a name for each label, in the order of the columns",
                fix="correct label_names in the file, or the region's classes",
            )
        return table, named
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1:
        raise DataError(
            f"{path}: labels of shape {labels.shape}",
            required="(N,) for classification, (N, L) for multilabel",
            fix="correct the labels, or the region's task",
        )
    if labels.dtype.kind in "US":
        words = texts(labels) or ()
        classes = names or stated or order_classes(words)
        return encode(words, str(path), classes), classes
    if labels.dtype.kind not in "ui":
        raise DataError(
            f"{path}: labels of dtype {labels.dtype}", required="integers or class names", fix="convert them"
        )
    count = int(labels.max(initial=0)) + 1
    classes = names or stated or tuple(str(value) for value in range(min(count, 10_000)))
    return labels.astype(np.int64), classes


def _columns(arrays: Mapping[str, NDArray[Any]], samples: int) -> Columns:
    """Return the other arrays with a text or number per sample."""
    others = {
        name: array
        for name, array in arrays.items()
        if name not in _KNOWN and not names_patients(name) and array.shape == (samples,)
    }
    return {name: texts(array) or () for name, array in others.items() if array.dtype.kind in "USuibf"}


def _required(path: Path, arrays: Mapping[str, NDArray[Any]], key: str) -> NDArray[Any]:
    if key not in arrays:
        raise DataError(
            f"{path} has no '{key}' among {', '.join(arrays) or 'nothing'}",
            required="arrays 'images' and 'labels', or 'images' and 'masks'",
            fix="save them under these names",
        )
    return arrays[key]
