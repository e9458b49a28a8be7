"""Reader of cases as TotalSegmentator writes them: a folder per case, with its volume and a mask of each structure.

`s0001/ct.nii.gz`, or `mri.nii.gz`, is the volume, and `s0001/segmentations/liver.nii.gz` is where its liver is: any
number but 0. `meta.csv`, where there is one, states the part and further columns of each case (`image_id`). Each case
is its own group: files state no patient.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lorkit.decompose.artifacts.arrays import IGNORED, MOST_OVERLAPPING, Mask
from lorkit.decompose.config import RegionConfig
from lorkit.decompose.data.formats import nifti
from lorkit.decompose.data.formats.grids import check_same_grid
from lorkit.decompose.data.formats.listing import is_left_over
from lorkit.decompose.data.preprocessing.recipe import intensity_step
from lorkit.decompose.data.readers.csv_table import read_table
from lorkit.decompose.data.readers.image_files import FileImages
from lorkit.decompose.data.readers.structure_files import StructureMasks, read_structure
from lorkit.decompose.data.samples.open_files import OpenFiles
from lorkit.decompose.data.samples.samples import part_name
from lorkit.decompose.data.samples.source import Images, Source
from lorkit.decompose.errors import DataError, UsageError, plural, unknown

IMAGES, MASKS, TABLE, CASE = ("ct", "mri"), "segmentations", "meta.csv", "image_id"
_MOST = IGNORED - 1
_SURVEYED = 24
_SHOWN = 5


def accepts(entries: list[str]) -> int:
    """Return how many leading data entries this reader takes: 1 for a folder of cases."""
    root = Path(entries[0])
    return int(root.is_dir() and any((child / MASKS).is_dir() for child in root.iterdir()))


def read(entries: list[str], config: RegionConfig, files: OpenFiles | None = None) -> Source:
    """List the cases of a folder; voxels are read when asked for.

    Raises:
        UsageError: The region names a structure that has no mask, or numbers of structures.
        DataError: A case lacks its volume or a mask, or the two lie on other voxels; a row of the table is wrong.
    """
    root = Path(entries[0])
    cases = _cases(root)
    names = _chosen(root, cases, config)
    images = [_image(case) for case in cases]
    several = [[_mask(case, name) for name in names] for case in cases]
    grids = [[check_same_grid(image, mask) for mask in paths] for image, paths in zip(images, several, strict=True)]
    masks: Images = StructureMasks(several) if config.may_overlap else ExclusiveMasks(several)
    rows = _rows(root / TABLE, [case.name for case in cases])
    return Source(
        images=FileImages(images, intensity_step(config), files),
        labels=np.zeros(len(cases), dtype=np.int64),
        classes=names,
        ids=tuple(case.name for case in cases),
        groups=tuple(case.name for case in cases),
        parts=tuple(part_name(row.get("split") or "", f"{root / TABLE}, case {row.get(CASE)}") for row in rows),
        origin=str(root),
        masks=masks,
        spacings=tuple(of_masks[0] for of_masks in grids),
        columns={name: tuple(row[name] for row in rows) for name in rows[0] if name not in (CASE, "split")},
    )


class ExclusiveMasks:
    """Masks of several files of which no two share a voxel, in RAS axes; read when asked for."""

    def __init__(self, files: Sequence[Sequence[Path]]) -> None:
        self._files = [tuple(some) for some in files]

    def __len__(self) -> int:
        """Return the number of cases."""
        return len(self._files)

    def __getitem__(self, index: int, /) -> Mask:
        """Return the mask of one case, (D, H, W) uint8.

        Raises:
            DataError: Two structures share a voxel.
        """
        paths = self._files[index]
        mask: Mask | None = None
        for number, path in enumerate(paths, start=1):
            there = read_structure(path)
            mask = np.zeros(there.shape, dtype=np.uint8) if mask is None else mask
            taken = mask[there]
            if taken.any():
                shared = int(np.count_nonzero(taken))
                raise DataError(
                    f"{path} and {paths[int(taken.max()) - 1].name} share {plural(shared, 'voxel')}",
                    required="overlap: true in the region where structures may overlap",
                    fix="state it, or leave one of them out with structures",
                )
            mask[there] = number
        assert mask is not None  # a region has a structure
        return mask


def draft(root: Path) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the keys of a region that say which structures are in the cases and whether they overlap, and notes.

    The masks of at most 24 cases are read.

    Raises:
        DataError: A mask is missing or cannot be read, or all are empty.
    """
    cases = _cases(root)
    seen = [cases[int(at)] for at in np.unique(np.linspace(0, len(cases) - 1, min(len(cases), _SURVEYED)).astype(int))]
    names = _names(seen[0])
    voxels, overlap = np.zeros(len(names), dtype=np.int64), False
    for case in seen:
        sums: NDArray[np.uint8] | None = None
        for index, name in enumerate(names):
            there = read_structure(_mask(case, name))
            voxels[index] += np.count_nonzero(there)
            sums = there.astype(np.uint8) if sums is None else sums + there
        overlap |= sums is not None and bool((sums > 1).any())
    found = [name for name, count in zip(names, voxels, strict=True) if count]
    if not found:
        raise DataError(f"the masks of {root} are empty", required="a structure", fix="check them")
    most = MOST_OVERLAPPING if overlap else _MOST
    largest = {names[index] for index in np.argsort(-voxels, kind="stable")[:most]}
    kept = [name for name in found if name in largest]
    empty = [name for name in names if name not in found]
    notes = [f"masks of {len(seen)} of {len(cases)} cases were read"] if len(seen) < len(cases) else []
    notes += [f"in no mask, and left out: {_listed(empty)}"] if empty else []
    notes += [f"only the {most} largest of {len(found)} structures"] if len(kept) < len(found) else []
    task = {"task": "structures", "overlap": True} if overlap else {"task": "segmentation"}
    return {**task, "structures": kept}, tuple(notes)


def _cases(root: Path) -> list[Path]:
    """Return the folders of the cases; files beside them are left out.

    Raises:
        DataError: A folder holds no masks.
    """
    folders = sorted(child for child in root.iterdir() if child.is_dir() and not is_left_over(child))
    wrong = next((folder for folder in folders if not (folder / MASKS).is_dir()), None)
    if wrong is not None:
        raise DataError(
            f"no folder '{MASKS}' in {wrong}",
            required=f"{MASKS}/<structure>.nii.gz in the folder of every case",
            fix="add the masks, or move the case away",
        )
    return folders


def _image(case: Path) -> Path:
    found = [path for name in IMAGES if (path := _volume(case, name)) is not None]
    if len(found) != 1:
        raise DataError(
            f"{case} holds {' and '.join(path.name for path in found) or 'no volume'}",
            required=f"one of {' and '.join(f'{name}.nii.gz' for name in IMAGES)}",
            fix="add it, move the case away, or make a region of each modality",
        )
    return found[0]


def _volume(folder: Path, name: str) -> Path | None:
    paths = [folder / f"{name}{suffix}" for suffix in (".nii.gz", ".nii")]
    return next((path for path in paths if path.is_file()), None)


def _mask(case: Path, name: str) -> Path:
    path = _volume(case / MASKS, name)
    if path is None:
        raise DataError(
            f"no mask of '{name}' in {case / MASKS}",
            required="a file for every structure of every case, an empty mask where it is not there",
            fix="add the file, move the case away, or leave the structure out with structures",
        )
    return path


def _names(case: Path) -> list[str]:
    files = sorted(path.name for path in (case / MASKS).iterdir() if nifti.accepts(path) and not is_left_over(path))
    return list(dict.fromkeys(name.removesuffix(".gz").removesuffix(".nii") for name in files))


def _chosen(root: Path, cases: Sequence[Path], config: RegionConfig) -> tuple[str, ...]:
    """Return the structures of a region, in its order; those of all cases, by name, where it names none."""
    if isinstance(config.structures, dict):
        raise UsageError(
            f"{root} with a mask for each structure, and structures with numbers",
            required="structures without numbers",
            fix="state names of masks, such as structures: [liver, spleen], or none",
        )
    known = list(dict.fromkeys(name for case in cases for name in _names(case)))
    if not known:
        raise DataError(f"no masks in {cases[0] / MASKS}", required="NIfTI files", fix="add them")
    names = config.structures or tuple(known)
    for name in names:
        if name not in known:
            raise unknown("structure", name, known, fix="correct structures")
    if not config.may_overlap and len(names) > _MOST:
        raise DataError(
            f"{root} with {len(names)} structures", required=f"at most {_MOST}", fix="choose some with structures"
        )
    return tuple(names)


def _rows(path: Path, cases: Sequence[str]) -> list[Mapping[str, str]]:
    """Return the row of each case in a table; empty ones where there is no table of cases."""
    table = read_table(path) if path.is_file() else None
    if table is None or CASE not in table.columns:
        return [{} for _ in cases]
    rows = {row[CASE]: row for _, row in table.rows}
    missing = [case for case in cases if case not in rows]
    if missing:
        raise DataError(
            f"{path} has no row of case '{missing[0]}' ({len(missing)} in total)",
            required=f"a row for every case, with its folder in {CASE}",
            fix="add it, or remove the table",
        )
    return [rows[case] for case in cases]


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
