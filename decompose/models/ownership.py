"""Ownership of the tensors of a live model: those of one region, by key."""

from __future__ import annotations

import itertools
from collections.abc import Collection

# A region's tensors are directly below one of these: in expert layers, norms by region, and regional models.
OWNED_BELOW = frozenset({"down", "up", "kernel", "regions", "heads", "models", "gates"})


def owner_of(key: str, regions: Collection[str]) -> str | None:
    """Return the region of a tensor or module name, or None if it is shared or of another region.

    The container of the name is checked too: a backbone may have a layer with the name of a region.
    """
    for above, part in itertools.pairwise(key.split(".")):
        if above in OWNED_BELOW and part in regions:
            return part
    return None
