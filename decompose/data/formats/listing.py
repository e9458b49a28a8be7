"""Which images a path stands for: one rule for every verb that takes paths.

A file is one input. A folder that holds the DICOM slices of one series is one input. Any other folder stands for its
files and folders; what an operating system leaves beside images, and texts, are no images.
"""

from __future__ import annotations

from pathlib import Path

from lorkit.decompose.errors import DataError

NOT_IMAGES = {".txt", ".md", ".json", ".csv", ".yaml", ".yml", ".xml", ".html", ".ini", ".db", ".log", ".pdf"}
_LEFT_OVERS = {"__MACOSX", "DICOMDIR"}


def images_of(path: Path) -> list[Path]:
    """Return the inputs below a path, in order of their names; the path itself where it is one input.

    Raises:
        DataError: A folder or file may not be read.
    """
    return _below(path, frozenset())


def _below(path: Path, above: frozenset[Path]) -> list[Path]:
    """Return the inputs below a path; links that lead back to a folder above it are left out."""
    try:
        if not path.is_dir():
            return [path]
        from lorkit.decompose.data.formats.dicom_series import is_series  # one picture does without

        if is_series(path):
            return [path]
        here = above | {path.resolve()}
        children = sorted(child for child in path.iterdir() if not is_left_over(child))
        inside = [child for child in children if not child.is_dir() or child.resolve() not in here]
    except OSError as error:
        raise unreadable(path, error) from None
    return [
        found
        for child in inside
        if child.is_dir() or child.suffix.lower() not in NOT_IMAGES
        for found in _below(child, here)
    ]


def is_left_over(path: Path) -> bool:
    """Tell whether a path is hidden or written by an operating system: `.DS_Store`, `._x`, `__MACOSX`, `Thumbs.db`."""
    return path.name.startswith(".") or path.name in _LEFT_OVERS or path.suffix.lower() == ".db"


def unreadable(path: Path, error: OSError) -> DataError:
    """Return the error of a path that the system does not let lorkit read."""
    text = str(path)
    name = text if len(text) <= 200 else f"{text[:100]}..."
    return DataError(
        f"{name} cannot be read ({error.strerror or error})", required="an image file", fix="check the path and rights"
    )
