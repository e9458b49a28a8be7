"""Which tensors of a live model belong to one region alone: found by their keys."""

from __future__ import annotations

import itertools
from collections.abc import Collection

# A region's own tensors stand right below one of these: in expert layers, norms by region, and regional models.
OWNED_BELOW = frozenset({"down", "up", "kernel", "regions", "heads", "models"})


def owner_of(key: str, regions: Collection[str]) -> str | None:
    """Return which of `regions` a tensor belongs to, or None where it is shared or of another region.

    The container above the name is checked too: a backbone may have a layer that is named like a region.

    Args:
        key: Key of a state dict, or the name of a module in it.
        regions: Names to look for.
    """
    for above, part in itertools.pairwise(key.split(".")):
        if above in OWNED_BELOW and part in regions:
            return part
    return None
