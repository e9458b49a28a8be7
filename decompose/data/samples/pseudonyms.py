"""Keyed hashes in place of patient ids: equal ids stay equal, and nobody without the key can find the id."""

from __future__ import annotations

from pathlib import Path

from lorkit.decompose.artifacts.keys import DirectoryKey

RUNS = Path("runs")
_LENGTH = 16  # hexadecimal digits: 64 bits


class Pseudonyms:
    """Maps patient ids to keyed hashes.

    Args:
        runs: Directory of runs, which holds the key file.
        create: Make a key file on first use where there is none; else the hashes hold for this process only.

    Attributes:
        key: Of the directory, for digests of cases.

    Raises:
        ArtifactError: On first use: the key file holds something else.
    """

    def __init__(self, runs: Path = RUNS, *, create: bool = False) -> None:
        self.runs, self.key = runs, DirectoryKey(runs, create=create)

    def pseudonym(self, patient: str) -> str:
        """Return the hash of a patient id."""
        return self.key.digest_raw(patient.encode())[:_LENGTH]

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a reader of the hashes must know."""
        if self.key.exists:
            return ()
        return ("keys of patients hold for this call only: no run has made a key file yet",)
