"""The column of a table that names images: `path`, else the one whose cells are files or folders of DICOM slices."""

from __future__ import annotations

from pathlib import Path

from lorkit.decompose.data.formats import dicom, nifti, pictures
from lorkit.decompose.data.formats.listing import is_left_over
from lorkit.decompose.data.formats.registry import is_image
from lorkit.decompose.data.readers.csv_table import Table, local_path
from lorkit.decompose.data.readers.image_files import within
from lorkit.decompose.errors import DataError, refusing_damage

NAME = "path"
_ROWS = 50  # that are looked at to find a column; all rows are read later
_SUFFIXES = (*pictures.SUFFIXES, *nifti.SUFFIXES, ".dcm")


def path_column(table: Table, root: Path, where: str) -> str | None:
    """Return the column of a table whose cells name images below a directory, None where there is none.

    A column `path` is it unless only others name images. Of several others the one with most different images is
    taken, of equal ones that with the whole names of files.

    Args:
        table: A table.
        root: Directory that its paths start at.
        where: The file, for messages.

    Raises:
        DataError: Two columns name images equally well.
    """
    found = {name: rank for name in table.columns if name and (rank := _rank(table, name, root))}
    if NAME in table.columns and (NAME in found or not found):
        return NAME  # also where its images are missing, so that they are named
    best = [name for name, rank in found.items() if rank == max(found.values())]
    if len(best) > 1:
        raise DataError(
            f"{where}: columns {' and '.join(best)} both name images",
            required="one column of images",
            fix=f"rename the one to use to '{NAME}'",
        )
    return best[0] if best else None


def image_at(root: Path, text: str, where: str) -> Path | None:
    """Return the file or folder that a cell names below a directory, with or without the suffix; None if none exists.

    Raises:
        DataError: It lies outside the directory, or several files have this name without their suffix.
    """
    path = within(root, root / local_path(text), where)
    with refusing_damage(f"{where}: {text[:80]}", required="the path of an image", fix="correct the row"):
        if path.exists():
            return path
        found = [other for suffix in _SUFFIXES if (other := path.with_name(path.name + suffix)).is_file()]
    if len(found) > 1:
        names = " and ".join(sorted(other.name for other in found))
        raise DataError(f"{where}: '{text}' may be {names}", required="one file", fix="write the suffix in the table")
    return within(root, found[0], where) if found else None


def _rank(table: Table, name: str, root: Path) -> tuple[int, bool] | None:
    """Return how many cells differ, and whether they are whole names; None if most of the first name no image.

    A few may be missing, which whoever reads the column names.
    """
    cells = [row[name] for _, row in table.rows]
    first = [cell for cell in list(dict.fromkeys(cells))[:_ROWS] if cell]
    found = [cell for cell in first if _names_image(root, cell)]
    if not found or 2 * len(found) < len(first):
        return None
    whole = all((root / local_path(cell)).exists() for cell in found)
    if not whole and len(found) < 2:  # a number such as 1, beside an image 1.png
        return None
    return len(set(cells)), whole


def _names_image(root: Path, cell: str) -> bool:
    """Tell whether a cell names an image, or a folder that begins with a DICOM file; a class is no folder of slices."""
    try:
        path = image_at(root, cell, where="")
    except DataError:
        return False
    if path is None or not path.is_dir():
        return path is not None and is_image(path)
    files = sorted(child for child in path.iterdir() if child.is_file() and not is_left_over(child))
    return bool(files) and dicom.accepts(files[0])


def require_path_column(table: Table, root: Path, where: str) -> str:
    """Return the column that names images.

    Raises:
        DataError: There is none, or two do so equally well.
    """
    name = path_column(table, root, where)
    if name is None:
        raise DataError(
            f"{where} has columns {', '.join(table.columns) or '(none)'}, and none names images below {root}",
            required="a column whose cells are image files, with or without their suffix",
            fix=f"check where the images are, or give the table a column '{NAME}'",
        )
    return name


def locate(root: Path, text: str, where: str) -> Path:
    """Return the image that a cell names; raise DataError if there is none below the root."""
    path = image_at(root, text, where) if text else None
    if path is None:
        raise DataError(
            f"{where}: no image at {root / text}" if text else f"{where}: the path is empty",
            required="an image file, or a folder of DICOM slices",
            fix="correct the path or the root",
        )
    return path
