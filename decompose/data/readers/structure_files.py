"""Masks of NIfTI volumes with one file per structure: a folder of masks has a folder for each structure.

`labels/liver/case1.nii.gz` is where the liver is in `images/case1.nii.gz`: any number but 0. Structures may overlap.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lorkit.decompose.artifacts.arrays import Bits
from lorkit.decompose.artifacts.masks import join_structures
from lorkit.decompose.config import RegionConfig
from lorkit.decompose.data.formats import nifti
from lorkit.decompose.data.samples.mask_labels import whole_numbers
from lorkit.decompose.errors import DataError, UsageError

Cases = Mapping[str, Path]
"""Files by case."""


def structure_folders(folder: Path) -> list[Path]:
    """Return the folders of a folder of masks that hold NIfTI files, sorted; empty where masks are files in it."""
    inner = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    return [path for path in inner if any(nifti.accepts(file) for file in path.iterdir())]


def chosen_folders(folder: Path, config: RegionConfig) -> list[Path]:
    """Return the folders of the structures of a region, in its order; all of them where it names none.

    Raises:
        UsageError: The region does not say that structures may overlap, states numbers, or names another structure.
    """
    found = {path.name: path for path in structure_folders(folder)}
    given = f"{folder} with a folder for each structure ({', '.join(found)})"
    if not config.may_overlap:
        raise UsageError(
            given,
            required="overlap: true in the region, because such structures may overlap",
            fix="state it, or save one mask per case",
        )
    if isinstance(config.structures, dict):
        raise UsageError(given, required="structures without numbers", fix="state the names of folders, or none")
    wanted = config.structures or tuple(found)
    missing = [name for name in wanted if name not in found]
    if missing:
        raise UsageError(f"no folder '{missing[0]}' in {folder}", required=", ".join(found), fix="correct structures")
    return [found[name] for name in wanted]


def files_by_case(folders: Sequence[Path], cases_of: Callable[[Path], Cases]) -> dict[str, list[Path]]:
    """Return the masks of each case in the order of the structures.

    Raises:
        DataError: A case has no file for a structure.
    """
    found = [cases_of(folder) for folder in folders]
    every = sorted({case for cases in found for case in cases})
    for folder, cases in zip(folders, found, strict=True):
        missing = [case for case in every if case not in cases]
        if missing:
            raise DataError(
                f"no mask of '{folder.name}' for case '{missing[0]}' in {folder} ({len(missing)} in total)",
                required="a file for every structure of every case, an empty mask where it is not there",
                fix="add the file, or remove the case",
            )
    return {case: [cases[case] for cases in found] for case in every}


class StructureMasks:
    """Masks of several files, in RAS axes; read when asked for."""

    def __init__(self, files: Sequence[Sequence[Path]]) -> None:
        self._files = [tuple(some) for some in files]

    def __len__(self) -> int:
        """Return the number of cases."""
        return len(self._files)

    def __getitem__(self, index: int, /) -> Bits:
        """Return the mask of one case, (D, H, W) uint32."""
        return join_structures(map(read_structure, self._files[index]))


def read_structure(path: Path) -> NDArray[np.bool_]:
    """Return where the structure of a file is, (D, H, W) in RAS axes."""
    volume = nifti.read(path)
    return np.asarray(volume.orient(whole_numbers(volume.values, str(path))) != 0)
