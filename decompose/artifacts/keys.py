"""The secret key of a directory of runs, for digests that nobody without it can compute or look up.

The key is in a hidden file that only its owner may read. It is part of no artifact and of no archive, so that what is
given away reveals nothing; whoever needs equal digests elsewhere copies the file.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import tempfile
from functools import cache, cached_property
from pathlib import Path

from lorkit.decompose.artifacts.drafts import host, naming
from lorkit.decompose.errors import ArtifactError

KEY_FILE = ".patient-key"
_BYTES = 32
_NAME = 16


@cache
def _passing_key(path: Path) -> bytes:
    """Return this process's key for a missing file, one for all readers: equal data have equal digests in each."""
    del path
    return secrets.token_bytes(_BYTES)


class DirectoryKey:
    """Computes keyed digests (HMAC-SHA-256) with the key of a directory.

    Args:
        directory: Holds the key file; the directory of runs.
        create: Make a key file on first use where there is none; else the digests hold for this process only.

    Raises:
        ArtifactError: On first use: the key file holds something else.
    """

    def __init__(self, directory: Path, *, create: bool = False) -> None:
        self.path, self._create = directory / KEY_FILE, create

    @property
    def exists(self) -> bool:
        """Whether there is a key file, so that other processes compute the same digests."""
        return self.path.exists()

    @property
    def name(self) -> str:
        """16 hexadecimal digits by which artifacts name the key of their digests; they do not reveal it."""
        return self.digest("key", b"")[:_NAME]

    def digest(self, purpose: str, data: bytes) -> str:
        """Return 64 hexadecimal digits; equal data of another purpose have another digest."""
        return self.digest_raw(purpose.encode() + b"\0" + data)

    def digest_raw(self, data: bytes) -> str:
        """Return 64 hexadecimal digits of data alone."""
        return hmac.new(self._key, data, hashlib.sha256).hexdigest()

    @cached_property
    def _key(self) -> bytes:
        if not self.exists:
            if not self._create:
                return _passing_key(self.path.absolute())
            with naming(self.path):
                self._write()
        try:
            key = bytes.fromhex(self.path.read_text(encoding="ascii").strip())
        except (OSError, ValueError) as error:
            raise self._damaged(type(error).__name__) from None
        if len(key) != _BYTES:
            raise self._damaged(f"{len(key)} bytes")
        return key

    def _write(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        prefix = f"{KEY_FILE}.draft-{host()}-{os.getpid()}-"
        handle, draft = tempfile.mkstemp(prefix=prefix, dir=self.path.parent)  # of mode 600
        try:
            with os.fdopen(handle, "w", encoding="ascii") as stream:
                stream.write(secrets.token_hex(_BYTES) + "\n")
            try:
                os.link(draft, self.path)
            except FileExistsError:  # of several processes the first one's key is kept
                pass
            except OSError:  # a file system without links
                os.rename(draft, self.path)
        finally:
            Path(draft).unlink(missing_ok=True)

    def _damaged(self, found: str) -> ArtifactError:
        return ArtifactError(
            f"{self.path} is no key of patients ({found})",
            required=f"{2 * _BYTES} hexadecimal digits",
            fix="restore it; a new key would give every patient and every case another name",
        )
