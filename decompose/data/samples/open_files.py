"""Files that several regions name, read and decoded once for all of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

if TYPE_CHECKING:
    from lorkit.decompose.config import Config

Arrays = dict[str, NDArray[Any]]


class OpenFiles:
    """Decoded images and arrays of the files of some regions, for one command.

    Args:
        shared: Data entries of several regions: their arrays are kept until they are no longer needed.
    """

    def __init__(self, shared: Iterable[str] = ()) -> None:
        self._shared = frozenset(Path(entry) for entry in shared)
        self._images: dict[Hashable, NDArray[Any]] = {}
        self._arrays: dict[Path, Arrays] = {}

    @classmethod
    def of(cls, config: Config) -> OpenFiles:
        """Return an object for the regions of a configuration."""
        from lorkit.decompose.config import resolve_path  # images are also read without a configuration

        counts: Counter[str] = Counter()
        for one in config.regions.values():
            parts = (part or () for part in (one.data, one.train, one.val, one.test, one.unlabelled))
            counts.update({resolve_path(entry, config.base) for entries in parts for entry in entries})
        return cls(entry for entry, count in counts.items() if count > 1)

    def image(self, key: Hashable) -> NDArray[Any] | None:
        """Return a decoded image; None if it is not kept."""
        return self._images.get(key)

    def keep(self, key: Hashable, image: NDArray[Any]) -> None:
        """Keep a decoded image."""
        self._images[key] = image

    def arrays(self, path: Path, load: Callable[[Path], Arrays], *, keep: bool = False) -> Arrays:
        """Return the arrays of a file, loaded now unless another region has loaded them; `keep` for any region."""
        if path in self._arrays:
            return self._arrays[path]
        found = load(path)
        if keep or path in self._shared:
            self._arrays[path] = found
        return found

    def drop_arrays(self) -> None:
        """Forget the arrays of files: all regions are read."""
        self._arrays.clear()
