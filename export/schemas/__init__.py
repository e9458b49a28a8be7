"""The published JSON Schemas of lorkit's documents, with a version."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lorkit.decompose.errors import UsageError

_HERE = Path(__file__).parent
KINDS = tuple(sorted(path.name.removesuffix(".schema.json") for path in _HERE.glob("*.schema.json")))
"""Kinds of documents that have one."""


def read_schema(kind: str) -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a kind of document.

    Args:
        kind: What the document states as `kind`: one of `KINDS`.

    Raises:
        UsageError: There is none for that kind.
    """
    if kind not in KINDS:
        raise UsageError(f"no schema of '{kind}'", required=f"one of {', '.join(KINDS)}", fix="name one of them")
    found: dict[str, Any] = json.loads((_HERE / f"{kind}.schema.json").read_text(encoding="utf-8"))
    return found
