"""Keyed hashes in place of patient ids: equal ids stay equal, and nobody without the key can find the id.

One key per directory of runs, in a file that only its owner may read. It is part of no artifact.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import secrets
import tempfile
from functools import cache, cached_property
from pathlib import Path

from lorkit.decompose.errors import ArtifactError

KEY_FILE = ".patient-key"
RUNS = Path("runs")
_BYTES = 32
_LENGTH = 16  # hexadecimal digits: 64 bits


@cache
def _passing_key(path: Path) -> bytes:
    """Return this process's key for a missing file, one for all readers: equal ids have equal hashes in each."""
    del path
    return secrets.token_bytes(_BYTES)


class Pseudonyms:
    """Maps patient ids to keyed hashes.

    Args:
        runs: Directory of runs, which holds the key file.
        create: Make a key file on first use where there is none; else the hashes hold for this process only.

    Raises:
        ArtifactError: On first use: the key file holds something else.
    """

    def __init__(self, runs: Path = RUNS, *, create: bool = False) -> None:
        self.runs, self._path, self._create = runs, runs / KEY_FILE, create

    def pseudonym(self, patient: str) -> str:
        """Return the hash of a patient id."""
        return hmac.new(self._key, patient.encode(), hashlib.sha256).hexdigest()[:_LENGTH]

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a reader of the hashes must know."""
        if self._path.exists():
            return ()
        return ("keys of patients hold for this call only: no run has made a key file yet",)

    @cached_property
    def _key(self) -> bytes:
        if not self._path.exists():
            if not self._create:
                return _passing_key(self._path.absolute())
            self._write()
        try:
            key = bytes.fromhex(self._path.read_text(encoding="ascii").strip())
        except (OSError, ValueError) as error:
            raise self._damaged(error) from None
        if len(key) != _BYTES:
            raise self._damaged(f"{len(key)} bytes")
        return key

    def _write(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        handle, draft = tempfile.mkstemp(prefix=KEY_FILE, dir=self._path.parent)  # of mode 600
        with os.fdopen(handle, "w", encoding="ascii") as stream:
            stream.write(secrets.token_hex(_BYTES) + "\n")
        with contextlib.suppress(FileExistsError):  # of several processes the first one's key is kept
            os.link(draft, self._path)
        os.unlink(draft)

    def _damaged(self, error: object) -> ArtifactError:
        return ArtifactError(
            f"{self._path} is no key of patients ({error})",
            required=f"{2 * _BYTES} hexadecimal digits",
            fix="restore it; a new key would give every patient another name",
        )
