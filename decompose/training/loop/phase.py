"""One training: which regions, on which samples, for how long, and where its checkpoints are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lorkit.decompose.config import Config, TrainConfig
from lorkit.decompose.data.prepared import PreparedRegion
from lorkit.decompose.regions import RegionSet
from lorkit.decompose.training.feature_cache import FeatureCacheFactory
from lorkit.decompose.training.training_data import TrainingData


@dataclass(frozen=True, kw_only=True)
class Phase:
    """One training phase: its regions, samples, settings, and directory of checkpoints.

    `settings.batch_size` is that of one rank. `teacher_train` is `train` prepared for a teacher with other image
    settings; `cache_factory` opens the cache of the teacher's features.
    """

    name: str
    regions: RegionSet
    train: Mapping[str, PreparedRegion]
    val: Mapping[str, PreparedRegion]
    settings: TrainConfig
    seed: int
    directory: Path
    teacher_train: Mapping[str, PreparedRegion] | None = None
    cache_factory: FeatureCacheFactory | None = None

    @classmethod
    def of(
        cls,
        name: str,
        data: TrainingData,
        config: Config,
        checkpoints: Path,
        *,
        regions: RegionSet | None = None,
        cache_factory: FeatureCacheFactory | None = None,
    ) -> Phase:
        """Return the training of a configuration on some regions of its data, all by default."""
        members = regions or data.regions
        parts = {"train": data.train, "val": data.val}
        return cls(
            name=name,
            regions=members,
            **{part: {region: rows[region] for region in members.names} for part, rows in parts.items()},
            settings=config.train,
            seed=config.seed,
            directory=checkpoints / name,
            teacher_train=None if data.teacher is None else {one: data.teacher["train"][one] for one in members.names},
            cache_factory=cache_factory,
        )
