"""Keyed digests of cases: what artifacts name an image by.

A plain digest of pixels tells everyone who has an image whether it was in the training data. So whatever is stored has
digests that are keyed by the file of the directory of runs. Digests in memory are plain.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lorkit.decompose.artifacts import digest_file
from lorkit.decompose.artifacts.keys import KEY_FILE, DirectoryKey
from lorkit.decompose.documents.evaluate import DataFile
from lorkit.decompose.errors import DataError


def keyed_digests(digests: Iterable[str], key: DirectoryKey) -> list[str]:
    """Return the keyed digest of each image by its plain digest, in order."""
    return [key.digest("case", digest.encode()) for digest in digests]


def digest_cases(digests: Sequence[str], targets: Sequence[str], key: DirectoryKey) -> str:
    """Return the keyed digest of a set of cases (plain digests of images, and targets), independent of their order."""
    rows = sorted(f"{digest}\t{target}" for digest, target in zip(digests, targets, strict=True))
    return key.digest("cases", "\n".join(rows).encode())


def data_file(path: Path, key: DirectoryKey) -> DataFile:
    """Return what a measurement says of a file or folder of cases: its name, and of a file its digest, if keys last."""
    digest = key.digest("file", digest_file(path).encode()) if path.is_file() and key.exists else None
    return DataFile(name=path.name, digest=digest)


class KeyedCases:
    """A set of cases by their keyed digests, which is asked by plain ones.

    Args:
        known: The keyed digests, by their key.
    """

    def __init__(self, known: Mapping[DirectoryKey, Iterable[str]]) -> None:
        self._known = {key: frozenset(digests) for key, digests in known.items()}

    def __contains__(self, digest: object) -> bool:
        plain = str(digest).encode()
        return any(key.digest("case", plain) in known for key, known in self._known.items())

    def __len__(self) -> int:
        return sum(len(known) for known in self._known.values())


def key_of(document: Mapping[str, Any], region: str) -> str | None:
    """Return the name of the key of a region in `splits.json`; None for one that has none."""
    found: str | None = document.get("keys", {}).get(region)
    return found


def check_key(document: Mapping[str, Any], region: str, key: DirectoryKey) -> None:
    """Raise DataError unless the cases of a region in `splits.json` are known by this key."""
    if key_of(document, region) != key.name:
        raise DataError(
            f"the cases of region '{region}' are known by another key than that of its directory of runs",
            required=f"{KEY_FILE} of the directory of runs where they were locked",
            fix="copy that file on a safe way, or name cases with --data",
        )
