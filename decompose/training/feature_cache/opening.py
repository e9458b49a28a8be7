"""Open the cache of each phase of a training: estimate, budget, disk space, and a check of existing features."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lorkit.decompose.config import Config
from lorkit.decompose.data.batches.loader import Batch
from lorkit.decompose.data.prepared import PreparedRegion
from lorkit.decompose.events import Listener, Notice
from lorkit.decompose.models.foundation.model import Foundation
from lorkit.decompose.training.feature_cache.budget import Estimate, make_room, views_of
from lorkit.decompose.training.feature_cache.cache import FeatureCache
from lorkit.decompose.training.feature_cache.namespaces import FeatureNamespace, namespace_of, teacher_digest
from lorkit.decompose.training.feature_cache.store import Store
from lorkit.decompose.training.feature_cache.tensors import layout_of

if TYPE_CHECKING:
    from lightning_fabric import Fabric

_NAME = "features"


def features_directory(config: Config, foundations: Path) -> Path:
    """Return the directory of features: `cache.directory`, or beside the foundations of this place."""
    return Path(config.cache.directory) if config.cache.directory is not None else foundations / _NAME


def feature_cache_factory(
    config: Config, train: Mapping[str, PreparedRegion], foundations: Path, *, asked: bool, on_event: Listener
) -> FeatureCacheFactory | None:
    """Return the factory of the phases' caches, or None if the cache is off or the method has no teacher (`asked`)."""
    if not config.cache.enabled:
        return None
    if not asked:
        on_event(Notice(text=f"{config.method} uses no teacher: cache.enabled has no effect"))
        return None
    root = features_directory(config, foundations)
    return FeatureCacheFactory(config=config, train=train, root=root, on_event=on_event)


@dataclass(kw_only=True)
class FeatureCacheFactory:
    """Opens the cache of each phase of one training.

    Attributes:
        config: Settings.
        train: Training parts of all regions in all phases.
        root: Directory of all spaces.
        on_event: Receives notices.
    """

    config: Config
    train: Mapping[str, PreparedRegion]
    root: Path
    on_event: Listener
    _namespaces: set[str] = field(default_factory=set)

    def open(
        self,
        answer: Any,
        host: Batch,
        parts: Mapping[str, PreparedRegion],
        seen: Mapping[str, PreparedRegion],
        foundation: Foundation,
        fabric: Fabric,
    ) -> FeatureCache:
        """Open the cache of a phase.

        Args:
            answer: The teacher's outputs for `host`, the first batch of the phase.
            host: That batch.
            parts: Training parts of the phase, in routing order.
            seen: The same prepared for the teacher.
            foundation: The teacher of the phase, which an earlier phase may have adapted.
            fabric: A launched Fabric.

        Raises:
            UsageError: The training's features are larger than the budget.
            StorageError: The disk is full.
            ArtifactError: Stored features differ from the teacher's outputs.
        """
        config = self.config
        layout = layout_of(answer, config.cache.dtype)
        digest = teacher_digest(foundation)
        in_namespace = partial(namespace_of, digest, foundation, seed=config.seed, device=fabric.device)
        namespaces = {name: in_namespace((one, seen[name]), layout, config.train) for name, one in parts.items()}
        estimate = self._estimate(namespaces[next(iter(parts))])
        estimate.check()
        opened = {
            namespace.name: Store(self.root, namespace, lambda text: self.on_event(Notice(text=text)))
            for namespace in namespaces.values()
        }
        stores = {name: opened[namespace.name] for name, namespace in namespaces.items()}
        digests = {name: one.digests for name, one in parts.items()}
        cache = FeatureCache(stores, digests, type(answer), fabric.device)
        cache.check(answer, host)
        self._namespaces |= set(opened)
        missing = sum(
            cache.missing(index, estimate.views) * namespace.sample_bytes
            for index, namespace in enumerate(namespaces.values())
        )
        if fabric.is_global_zero:
            self._tell(estimate, missing / 2**20, ", ".join(parts))
            room = (missing / 2**20, config.cache.budget, self._namespaces)
            make_room(self.root, *room, lambda text: self.on_event(Notice(text=text)))
        fabric.barrier()
        return cache

    def _tell(self, estimate: Estimate, missing: float, regions: str) -> None:
        budget = f"cache.budget {estimate.settings.budget:g} MiB"
        text = f"teacher cache {self.root}: {estimate} at most ({budget}); of {regions} {missing:.1f} MiB are missing"
        if missing and estimate.views >= self.config.train.epochs and estimate.views > 1:
            text += f"; with {estimate.views} views in {self.config.train.epochs} epochs hardly any is used again"
        self.on_event(Notice(text=text))

    def _estimate(self, namespace: FeatureNamespace) -> Estimate:
        pictures = {(str(one.recipe), digest) for one in self.train.values() for digest in one.digests}
        return Estimate(
            samples=len(pictures),
            views=views_of(self.config.train),
            sample_bytes=namespace.sample_bytes,
            settings=self.config.cache,
            directory=self.root,
        )
