"""Images as users name them to `predict`: files, folders, or a CSV that lists files."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from lorkit.decompose.data.formats.listing import images_of
from lorkit.decompose.data.formats.registry import KNOWN, open_image
from lorkit.decompose.data.formats.stored import StoredImage, network_values
from lorkit.decompose.documents.recipe import Recipe
from lorkit.decompose.errors import MissingDataError, UsageError

_TABLES = (".csv", ".tsv")


def expand(inputs: Iterable[Path | str]) -> list[Path]:
    """Return images in order: a CSV stands for the files of its `path` column, a folder for its images.

    Paths in a CSV are relative to it. A folder of the DICOM slices of one series is one image.

    Raises:
        UsageError: There is no input, or a folder without an image.
        MissingDataError: An input is not there.
        DataError: A file that a CSV lists is missing, or a CSV has no `path` column or no row.
    """
    found: list[Path] = []
    for path in map(Path, inputs):
        if not path.exists():
            raise MissingDataError(f"no file at {path}", required="an image file or folder", fix="check the path")
        images = _listed(path) if path.suffix.lower() in _TABLES and path.is_file() else images_of(path)
        if not images:
            raise UsageError(f"no image in {path}", required=KNOWN, fix="name a folder that holds images")
        found += images
    if not found:
        raise UsageError("no input", required="at least one image", fix=f"name files ({KNOWN}), a folder or a CSV")
    return found


def stem(path: Path) -> str:
    """Return a file name without suffix, also without both parts of `.nii.gz`; the whole name of a folder."""
    name = path.name
    if path.is_dir():  # often an identifier with dots
        return name
    return name[: -len(".nii.gz")] if name.lower().endswith(".nii.gz") else path.stem


def read(path: Path, recipe: Recipe) -> NDArray[Any]:
    """Read one image for `recipe`.

    Raises:
        DataError: The format is unknown, the file is damaged or has several frames, or a volume is needed or not
            supported.
    """
    return values_of(open_image(path), recipe, path)


def values_of(image: StoredImage, recipe: Recipe, path: Path) -> NDArray[Any]:
    """Return the values of an image that `recipe` takes.

    Raises:
        DataError: A volume where the recipe is of pictures, or the other way round; a window that is not usable.
    """
    if recipe.dims == 3:
        from lorkit.decompose.data.formats.dicom_series import check_whole  # pictures do without

        check_whole(path, image)
    return network_values(image, recipe.intensity, str(path), recipe.dims)


def network_spacing(image: StoredImage) -> tuple[float, ...] | None:
    """Return the distance of neighbours along the axes of a volume as networks take it: right, anterior, superior."""
    spacing, axes = image.spacing_mm, image.axes
    if spacing is None or len(spacing) != 3 or axes is None or "?" in axes:
        return spacing
    order = [next(at for at, letter in enumerate(axes) if letter in pair) for pair in ("LR", "PA", "IS")]
    return tuple(spacing[axis] for axis in order)


def _listed(path: Path) -> list[Path]:
    from lorkit.decompose.data.readers.csv_paths import require_path_column
    from lorkit.decompose.data.readers.csv_table import read_table

    table = read_table(path)
    column = require_path_column(table, path.parent, str(path))
    return [_file(path, row[column], line) for line, row in table.rows]


def _file(path: Path, text: str, line: int) -> Path:
    """Return the file of a row: anywhere as it is written, below the table without its suffix."""
    from lorkit.decompose.data.readers.csv_paths import locate
    from lorkit.decompose.data.readers.csv_table import local_path

    written = path.parent / local_path(text)
    return written if text and written.exists() else locate(path.parent, text, f"{path}, line {line}")
