"""Layouts of images and masks that look like classes: folders of both, and masks beside their images.

As classes they would train a network that tells images from masks.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from lorkit.decompose.data.formats import nifti

_IMAGES = {"image", "images", "img", "imgs", "imagestr", "imagests", "input", "inputs", "scans", "volumes"}
_MASKS = {
    "mask", "masks", "label", "labels", "labelstr", "labelsts", "annotation", "annotations", "segmentation",
    "segmentations", "seg", "gt", "groundtruth", "1stmanual", "manual", "manual1",
}  # fmt: skip
_MASK = re.compile(r"(?i)^(.*?)[ _-]*(?:mask|seg|segmentation|labels?|gt|ground[ _-]?truth)(?:[ _-]?\d+)?$")
FIX_PICTURES = "save them as images and masks of an .npz (docs/data.md)"
FIX_VOLUMES = "put them into images/ and labels/ with the same name for both, such as case1.nii.gz (docs/data.md)"


def are_pairs(folders: Sequence[Path]) -> bool:
    """Tell whether folders are of images and of their masks, such as `images` and `masks`."""
    names = {re.sub(r"[^a-z0-9]", "", folder.name.lower()) for folder in folders}
    return bool(names & _IMAGES) and bool(names & _MASKS)


def masks_among(files: Sequence[Path]) -> list[Path]:
    """Return the files of one folder that are masks of others there: `a_mask.png` of `a.png`, or a volume's `seg`."""
    stems = {_stem(path) for path in files}
    found = []
    for path in files:
        match = _MASK.match(_stem(path))
        if match and (match[1] in stems if not nifti.accepts(path) else len(stems) > 1):
            found.append(path)
    return found


def _stem(path: Path) -> str:
    return path.name[: path.name.lower().find(".nii")] if nifti.accepts(path) else path.stem
