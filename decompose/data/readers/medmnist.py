"""Reader of MedMNIST's `.npz` layout: `train_images`, `train_labels`, `val_images`, ..., with its official split.

ChestMNIST has labels (N, 14), which makes it multilabel; the file has no names, so `classes` states them.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lorkit.decompose.config import RegionConfig
from lorkit.decompose.data.formats.npz import keys_of, load_arrays
from lorkit.decompose.data.readers.npz import check_images, read_labels
from lorkit.decompose.data.samples.open_files import OpenFiles
from lorkit.decompose.data.samples.samples import PARTS
from lorkit.decompose.data.samples.source import Source
from lorkit.decompose.errors import DataError


def accepts(entries: list[str]) -> int:
    """Return the number of leading data entries that this reader takes: 1 for an `.npz` with `train_images`."""
    return int(Path(entries[0]).suffix.lower() == ".npz" and "train_images" in keys_of(Path(entries[0])))


def read(entries: list[str], config: RegionConfig, files: OpenFiles | None = None) -> Source:
    """Read one file with its three parts; each image is a group, since MedMNIST publishes no patients.

    Raises:
        DataError: An array is missing or the parts' images differ in shape.
    """
    path = Path(entries[0])
    arrays = (files or OpenFiles()).arrays(path, load_arrays)
    for part in PARTS:
        for key in (f"{part}_images", f"{part}_labels"):
            if key not in arrays:
                raise DataError(f"{path} has no '{key}'", required="MedMNIST's six arrays", fix="download it again")
    blocks = [check_images(path, arrays[f"{part}_images"]) for part in PARTS]
    if len({block.shape[1:] for block in blocks}) != 1:
        raise DataError(f"{path}: parts of differing image shapes", required="one shape", fix="download it again")
    joined = np.concatenate([arrays[f"{part}_labels"] for part in PARTS])
    labels, classes = read_labels(path, joined, None, config)
    ids = tuple(
        f"{path.stem}/{part}/{row}" for part, block in zip(PARTS, blocks, strict=True) for row in range(len(block))
    )
    return Source(
        images=np.concatenate(blocks),
        labels=labels,
        classes=classes,
        ids=ids,
        groups=ids,
        parts=tuple(part for part, block in zip(PARTS, blocks, strict=True) for _ in range(len(block))),
        origin=str(path),
    )
