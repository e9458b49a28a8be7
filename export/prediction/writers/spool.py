"""Files that wait until a whole prediction has succeeded, without a name on disk.

They may be masks and pictures of patients: what a killed process had written must not outlive it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from types import TracebackType
from typing import Self

from lorkit.decompose.errors import StorageError


class Spool:
    """The contents of files by name, in one temporary file that no directory lists.

    The system frees it with the process, also with one that is killed.
    """

    def __init__(self) -> None:
        try:
            self._stream = tempfile.TemporaryFile(prefix="lorkit-")  # noqa: SIM115 - closed by __exit__
        except OSError as error:
            raise _no_room(0, error) from None
        self._places: dict[str, tuple[int, int]] = {}
        self._end = 0

    def __enter__(self) -> Self:
        """Return the spool."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Free the file."""
        self.close()

    def close(self) -> None:
        """Free the file."""
        self._stream.close()

    def add(self, name: str, content: bytes) -> None:
        """Keep a file; one of the same name is replaced.

        Raises:
            StorageError: There is no room for it.
        """
        try:
            self._stream.seek(self._end)
            self._stream.write(content)
            self._stream.flush()
        except OSError as error:
            raise _no_room(len(content), error) from None
        self._places[name] = self._end, len(content)
        self._end += len(content)

    def __iter__(self) -> Iterator[str]:
        """Yield the names in their order."""
        return iter(sorted(self._places))

    def read(self, name: str) -> bytes:
        """Return a file."""
        begin, size = self._places[name]
        self._stream.seek(begin)
        return self._stream.read(size)


def _no_room(size: int, error: OSError) -> StorageError:
    return StorageError(
        f"no room for {size} bytes of masks in {tempfile.gettempdir()} ({error})",
        required="free disk space",
        fix="free some, or name another directory with TMPDIR",
    )
