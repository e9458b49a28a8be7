"""Reader of NIfTI pairs: a folder with `images` and `labels` (or `imagesTr` and `labelsTr`), one file per case in each.

Files are paired by name; an image may end in nnU-Net's `_0000`. Both are turned into RAS axes by their affines, so
what a network sees does not depend on how a scanner wrote its files. `dataset.json`, where there is one, names the
structures as the Medical Segmentation Decathlon or nnU-Net does; masks may have a folder per structure instead. Each
case is its own group: files state no patient.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lorkit.decompose.data.formats import dicom, nifti
from lorkit.decompose.data.formats.grids import check_same_grid
from lorkit.decompose.data.preprocessing.recipe import intensity_step
from lorkit.decompose.data.readers.image_files import FileImages
from lorkit.decompose.data.readers.structure_files import (
    StructureMasks,
    chosen_folders,
    files_by_case,
    structure_folders,
)
from lorkit.decompose.data.samples.mask_labels import AnyLabels, MaskLabels, OverlappingLabels, labels_of
from lorkit.decompose.data.samples.open_files import OpenFiles
from lorkit.decompose.data.samples.source import Images, Source
from lorkit.decompose.errors import DataError, refuse_special, refusing_damage

if TYPE_CHECKING:
    from lorkit.decompose.config import RegionConfig

DATASET = "dataset.json"
LAYOUTS = (("images", "labels"), ("imagesTr", "labelsTr"))
_CHANNEL = "_0000"


def accepts(entries: list[str]) -> int:
    """Return how many leading data entries this reader takes: 1 for a folder in this layout."""
    return int(_layout(Path(entries[0])) is not None)


def read(entries: list[str], config: RegionConfig, files: OpenFiles | None = None) -> Source:
    """Pair the files of a folder; voxels are read when asked for.

    Raises:
        DataError: An image has no mask or a mask no image, several channels a case, or the two lie on other grids.
    """
    root = Path(entries[0])
    layout = _layout(root)
    assert layout is not None
    images = _cases(root / layout[0])
    folders = chosen_folders(root / layout[1], config) if structure_folders(root / layout[1]) else []
    several = files_by_case(folders, _cases) if folders else {}
    masks = {case: paths[0] for case, paths in several.items()} if folders else _cases(root / layout[1])
    for one, other, what in ((images, masks, "mask"), (masks, images, "image")):
        missing = sorted(one.keys() - other.keys())
        if missing:
            where = root / layout[0 if what == "image" else 1]
            _refuse_dicom(where)
            raise DataError(
                f"no {what} file for case '{missing[0]}' in {where} ({len(missing)} in total)",
                required="an image and a mask of the same name for every case",
                fix="add the file, or remove its counterpart",
            )
    ids = tuple(sorted(images))
    spacings = tuple(_check_grids(images[case], several.get(case, [masks[case]])) for case in ids)
    found_masks: Images
    if folders:
        names, found_masks = tuple(folder.name for folder in folders), StructureMasks([several[case] for case in ids])
    else:
        names, found_masks = _mask_files(root, [masks[case] for case in ids], config)
    return Source(
        images=FileImages([images[case] for case in ids], intensity_step(config), files),
        labels=np.zeros(len(ids), dtype=np.int64),
        classes=names,
        ids=ids,
        groups=ids,
        parts=(None,) * len(ids),
        origin=str(root),
        masks=found_masks,
        spacings=spacings,
    )


def _refuse_dicom(folder: Path) -> None:
    """Raise DataError for the first DICOM file of a folder: it would be an image or mask if it were NIfTI."""
    for path in sorted(folder.iterdir()):
        if path.is_file() and path.name.lower().endswith(dicom.SUFFIXES) and not path.name.startswith("."):
            raise dicom.as_mask_or_volume(path)


def _mask_files(root: Path, paths: list[Path], config: RegionConfig) -> tuple[tuple[str, ...], MaskFiles]:
    labels = _labels(root / DATASET, config)
    masks = MaskFiles(paths, intensity_step(config))
    masks.labels = labels
    return labels.names, masks


class MaskFiles(FileImages):
    """Masks in NIfTI files, in RAS axes."""

    labels: AnyLabels = MaskLabels()

    def decode(self, path: Path) -> NDArray[Any]:
        """Read a file to (D, H, W) uint8, or uint32 if structures may overlap."""
        mask = nifti.read(path)
        return self.labels(mask.orient(mask.values), str(path))


def labels_of_masks(folder: Path, config: RegionConfig) -> AnyLabels:
    """Return what the numbers in masks mean: as the region states it, else as `dataset.json` of a folder does."""
    return _labels(folder / DATASET, config)


def _layout(root: Path) -> tuple[str, str] | None:
    for layout in LAYOUTS:
        if all((root / name).is_dir() for name in layout) and any(_files(root / layout[0])):
            return layout
    return None


def _files(folder: Path) -> list[Path]:
    # macOS leaves ._copies beside the files of an unpacked archive
    return sorted(path for path in folder.iterdir() if nifti.accepts(path) and not path.name.startswith("."))


def _cases(folder: Path) -> dict[str, Path]:
    cases: dict[str, Path] = {}
    for path in _files(folder):
        stem = path.name.removesuffix(".gz").removesuffix(".nii")
        if stem[:-1].endswith(_CHANNEL[:-1]) and stem[-1:].isdigit() and not stem.endswith(_CHANNEL):
            raise DataError(
                f"{path} is another channel of the same case",
                required="one channel per case",
                fix="move the files of the other channels away: each channel can be a folder and a region of its own",
            )
        case = stem.removesuffix(_CHANNEL)
        if case in cases:
            raise DataError(f"{path} and {cases[case].name} are the same case", required="one file", fix="remove one")
        cases[case] = path
    return cases


def _check_grids(image: Path, masks: list[Path]) -> tuple[float, ...]:
    spacings = [check_same_grid(image, mask) for mask in masks]
    return spacings[0]


def mask_files(root: Path) -> list[Path]:
    """Return the masks of a folder in this layout, one per case."""
    layout = _layout(root)
    return [] if layout is None else list(_cases(root / layout[1]).values())


def _labels(path: Path, config: RegionConfig) -> AnyLabels:
    """Return what the numbers in masks mean: as the region states it, else as `dataset.json` does.

    Raises:
        DataError: `dataset.json` names no labels, or structures that overlap although the region does not say so.
    """
    if isinstance(config.structures, dict):
        return labels_of(config.structures, overlap=config.may_overlap)
    refuse_special(path)
    return stated_labels(path, overlap=config.may_overlap) if path.is_file() else MaskLabels()


def states_overlap(root: Path) -> bool:
    """Return whether a folder in this layout says that structures may overlap: by lists of labels, or by folders."""
    layout, path = _layout(root), root / DATASET
    if layout is not None and structure_folders(root / layout[1]):
        return True
    try:
        labels = json.loads(path.read_text(encoding="utf-8-sig"))["labels"]
        return any(isinstance(number, list) for number in labels.values())
    except Exception:  # boundary: `stated_labels` says what is wrong with it
        return False


def stated_labels(path: Path, *, overlap: bool = False) -> AnyLabels:
    """Return what the numbers in masks mean as `dataset.json` says it.

    Args:
        path: The file.
        overlap: Whether structures may overlap, which lists of labels say, as nnU-Net's regions are.

    Raises:
        DataError: It names no labels, or structures that overlap although `overlap` is false.
    """
    with refusing_damage(
        path,
        said="names no labels",
        required="labels: numbers to names, or names to numbers from 1, each once",
        fix="correct it, or remove it and state structures",
    ):
        labels = json.loads(path.read_text(encoding="utf-8-sig"))["labels"]
        several = next((name for name, number in labels.items() if isinstance(number, list)), None)
        # MSD maps numbers to names, nnU-Net names to numbers
        numbers = {} if several and not overlap else _numbers(labels)
        found = OverlappingLabels.of(numbers) if overlap else MaskLabels.of(numbers)
    if several is not None and not overlap:
        raise DataError(
            f"{path}: '{several}' is a list of labels, so structures overlap",
            required="overlap: true in the region, or one number per structure",
            fix="state overlap: true, or structures: {name: number} for the labels that are in the files",
        )
    return found


def _numbers(labels: dict[str, Any]) -> dict[str, Any]:
    if all(str(key).isdigit() for key in labels):
        return {str(text): int(number) for number, text in labels.items()}
    return {
        str(name): tuple(int(one) for one in number) if isinstance(number, list) else int(number)
        for name, number in labels.items()
    }
