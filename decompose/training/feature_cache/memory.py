"""A frozen teacher's features in memory: kept without being asked for, where every epoch has the same few images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from lorkit.decompose.models.regional import RegionalOutput
from lorkit.decompose.training.feature_cache.cache import FeatureCache
from lorkit.decompose.training.feature_cache.namespaces import FeatureNamespace
from lorkit.decompose.training.feature_cache.store import MemoryStore
from lorkit.decompose.training.feature_cache.tensors import FeatureLayout

MOST_BYTES = 64 * 2**20
"""Largest size of all features; more are kept on disk, where `cache.enabled` asks for it."""


class MemoryCache(FeatureCache):
    """The features of one phase, which end with it; nothing is told of them."""

    def row(self) -> None:
        """Return no figures: a run is the same without this cache."""


def memory_cache(
    layouts: Mapping[str, FeatureLayout], digests: Mapping[str, Sequence[str]], device: torch.device
) -> MemoryCache | None:
    """Return an empty cache of features with logits, or None if they are too large.

    Args:
        layouts: By region, of these outputs.
        digests: By region in routing order, of its samples in the order of the prepared part.
        device: Device of the teacher.
    """
    size = sum(len(set(digests[name])) * sum(part.bytes for part in one.values()) for name, one in layouts.items())
    if size > MOST_BYTES:
        return None
    stores = {name: MemoryStore(FeatureNamespace(name=name, layout=layouts[name])) for name in digests}
    return MemoryCache(stores, digests, RegionalOutput, device)
