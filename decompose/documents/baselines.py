"""A store of baselines: the current export of each region, and all replacements."""

from __future__ import annotations

from typing import Literal

from lorkit.decompose.documents.base import Digest, Document, Part, Verdict


class Replacement(Part):
    """A replaced baseline: an entry in the history of a store."""

    key: str
    replaced: Digest | None
    """Null for a first baseline."""
    by: Digest
    verdict: Verdict
    because: str | None
    case_digest: Digest | None = None
    case_key: str | None = None
    """Name of the key of `case_digest`."""
    who: str
    commit: str | None = None
    when: str


class BaselineRecord(Document):
    """`baselines.json` of a store: the current baselines and all replacements."""

    kind: Literal["baselines"] = "baselines"
    current: dict[str, Digest]
    """Digests by region, target, profile and precision."""
    history: list[Replacement]
    """Oldest first."""
