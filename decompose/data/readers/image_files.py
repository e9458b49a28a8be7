"""Sequences of images in files, decoded when asked for, and the check that a path stays below its root."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from lorkit.decompose.data.formats.registry import open_image
from lorkit.decompose.data.formats.stored import network_values
from lorkit.decompose.data.samples.open_files import OpenFiles
from lorkit.decompose.documents.recipe import Intensity
from lorkit.decompose.errors import DataError, first_line

_CACHE_BYTES = 512 * 1024 * 1024


class FileImages:
    """Images in files, decoded at first use and kept while they fit the budget.

    Args:
        paths: Files, or folders of DICOM slices.
        intensity: First step of the recipe that will take the images: a window decides what a DICOM file gives.
        files: Images of other regions, which may be of the same files.
        cache_bytes: Budget of the images that are decoded here.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        intensity: Intensity,
        files: OpenFiles | None = None,
        *,
        cache_bytes: int = _CACHE_BYTES,
    ) -> None:
        self.paths = tuple(paths)
        self._intensity, self._rule = intensity, str(intensity)
        self._files = files or OpenFiles()
        self._cache: dict[int, NDArray[Any]] = {}
        self._left = cache_bytes

    def __len__(self) -> int:
        """Return the number of files."""
        return len(self.paths)

    def decode(self, path: Path) -> NDArray[Any]:
        """Read one file."""
        return network_values(open_image(path), self._intensity, str(path))

    def __getitem__(self, index: int, /) -> NDArray[Any]:
        """Return one decoded image."""
        kept = self._cache.get(index)
        if kept is not None:
            return kept
        key = (self.paths[index].resolve(), self._rule)
        shared = self._files.image(key)
        if shared is not None:
            self._cache[index] = shared
            return shared
        image = self.decode(self.paths[index])
        if image.nbytes <= self._left:
            self._left -= image.nbytes
            self._cache[index] = image
            self._files.keep(key, image)
        return image


def within(root: Path, path: Path, where: str) -> Path:
    """Return the resolved `path`, which must lie below `root` after links and '..' are followed.

    Raises:
        DataError: It does not.
    """
    try:
        resolved = path.resolve()
        resolved.exists()  # raises for names that are too long for the system
    except (ValueError, OSError, RuntimeError) as error:  # a NUL byte, a name that is too long, a loop of links
        reason = error.strerror if isinstance(error, OSError) and error.strerror else first_line(error)
        raise DataError(
            f"{where}: {str(path)[:80]!r} is not a path ({reason})", required="paths of images", fix="correct the row"
        ) from None
    if not resolved.is_relative_to(root.resolve()):
        raise DataError(
            f"{where}: {path} lies outside {root}",
            required="images below the stated root",
            fix="state a root that contains all of them",
        )
    return resolved
