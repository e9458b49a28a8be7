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
from lorkit.decompose.regions import shared_words
from lorkit.decompose.training.feature_cache.budget import Estimate, make_room, views_of
from lorkit.decompose.training.feature_cache.cache import FeatureCache
from lorkit.decompose.training.feature_cache.namespaces import namespace_of, teacher_digest
from lorkit.decompose.training.feature_cache.store import Store
from lorkit.decompose.training.feature_cache.tensors import FeatureLayout

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
    _sample_bytes: dict[str, int] = field(default_factory=dict)

    def open(
        self,
        answer: Any,
        host: Batch,
        layouts: Mapping[str, FeatureLayout],
        parts: Mapping[str, PreparedRegion],
        seen: Mapping[str, PreparedRegion],
        foundation: Foundation,
        fabric: Fabric,
    ) -> FeatureCache:
        """Open the cache of a phase.

        Args:
            answer: The teacher's outputs for `host`, the first batch of the phase.
            host: That batch.
            layouts: By region of the phase, of the teacher's outputs.
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
        digest = teacher_digest(foundation)
        in_namespace = partial(namespace_of, digest, foundation, seed=config.seed, device=fabric.device)
        namespaces = {name: in_namespace((one, seen[name]), layouts[name], config.train) for name, one in parts.items()}
        estimate = self._estimate({name: namespace.sample_bytes for name, namespace in namespaces.items()})
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
            cache.missing(name, estimate.views) * namespace.sample_bytes for name, namespace in namespaces.items()
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

    def _estimate(self, sample_bytes: Mapping[str, int]) -> Estimate:
        """Estimate the features of this phase and of those before it; equal images of equal kinds count once."""
        self._sample_bytes |= sample_bytes
        kinds = {
            (str(one.recipe), self._sample_bytes[name], digest)
            for name, one in self.train.items()
            if name in self._sample_bytes
            for digest in one.digests
        }
        return Estimate(
            samples=len(kinds),
            views=views_of(self.config.train),
            view_bytes=sum(size for _, size, _ in kinds),
            settings=self.config.cache,
            directory=self.root,
            cases=shared_words((one.region.task, one.region.grouped) for one in self.train.values()).cases,
        )
