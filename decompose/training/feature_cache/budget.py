"""Disk space of features: estimated before anything is written, limited by the budget, freed from old features."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from filelock import Timeout

from lorkit.decompose.config import CacheConfig, Config, TrainConfig
from lorkit.decompose.data.batches.loader import Batch
from lorkit.decompose.documents.training import FeatureCachePlan
from lorkit.decompose.errors import StorageError, UsageError
from lorkit.decompose.methods.base import TrainingModule
from lorkit.decompose.models.foundation.model import Foundation, with_regions
from lorkit.decompose.regions import RegionSet
from lorkit.decompose.training.feature_cache.store import ABOUT, space_lock
from lorkit.decompose.training.feature_cache.tensors import layouts_of

_MIB = 2**20
_SPARE = 1.05  # keys, headers and blocks of the file system


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """The size of a training's features.

    Attributes:
        samples: Images of the training parts, equal ones once.
        views: Augmented versions of each.
        view_bytes: Bytes of the features of one version of all of them.
        settings: Budget, precision and directory.
        directory: Directory of the features.
        cases: What samples are called.
    """

    samples: int
    views: int
    view_bytes: int
    settings: CacheConfig
    directory: Path
    cases: str = "images"

    @property
    def mib(self) -> float:
        """MiB of all of them."""
        return self.views * self.view_bytes / _MIB

    def __str__(self) -> str:
        each = f"{self.samples} {self.cases} x {self.views} view{'s' * (self.views > 1)} x {self._mean / 1024:.1f} KiB"
        return f"{each} in {self.settings.dtype} = {self.mib:.1f} MiB"

    @property
    def _mean(self) -> float:
        return self.view_bytes / max(1, self.samples)

    def check(self) -> None:
        """Raise UsageError if the features exceed the budget."""
        if self.mib <= self.settings.budget:
            return
        ways = ["raise cache.budget", "train with fewer train.augment.views"]
        if self.settings.dtype == "fp32":
            ways.insert(1, "set cache.dtype to bf16, which halves it")
        if self.views == 1:
            ways.pop()
        raise UsageError(
            f"the teacher's features would take {self}",
            required=f"cache.budget {self.settings.budget:g} MiB or less",
            fix=f"{', '.join(ways)}, or set cache.enabled to false",
        )

    def planned(self) -> FeatureCachePlan:
        """Return it as a part of a plan."""
        return FeatureCachePlan(
            images=self.samples,
            views=self.views,
            bytes_per_view=round(self._mean),
            dtype=self.settings.dtype,
            mib=round(self.mib, 1),
            budget_mib=self.settings.budget,
            directory=str(self.directory),
        )


def views_of(train: TrainConfig) -> int:
    """Return the number of augmented versions of an image in the cache: `views`, or 1."""
    return 1 if train.augment is None else train.augment.views or 1


def plan_features(
    config: Config,
    modules: Mapping[str, TrainingModule],
    foundation: Foundation,
    counts: Mapping[str, int],
    directory: Path,
) -> FeatureCachePlan:
    """Estimate the teacher's features from counts and shapes, before there are any.

    Args:
        config: Settings.
        modules: By region, a module that asks the teacher as the region's phase does.
        foundation: The teacher with all regions, trained or not.
        counts: Training samples of every region.
        directory: Directory of features.

    Raises:
        UsageError: They would be larger than `cache.budget`.
    """
    sizes = {
        name: _sample_bytes(config, module, with_regions(foundation, RegionSet([foundation.regions.get(name)])))
        for name, module in modules.items()
    }
    estimate = Estimate(
        samples=sum(counts.values()),
        views=views_of(config.train),
        view_bytes=sum(counts[name] * size for name, size in sizes.items()),
        settings=config.cache,
        directory=directory,
        cases=foundation.regions.words.cases,
    )
    estimate.check()
    return estimate.planned()


@torch.no_grad()
def _sample_bytes(config: Config, module: TrainingModule, foundation: Foundation) -> int:
    """Return the bytes of one version's features of the foundation's only region."""
    images = [torch.zeros(2, one.channels, *one.size) for one in (config.image, config.foundation_image)]
    first = torch.zeros(2, dtype=torch.int64)
    batch = Batch(image=images[0], label=first, region=first, sample=first, teacher_image=images[1])
    answer = module.query_teacher(foundation.model.eval(), batch)
    (layout,) = layouts_of(answer, foundation.regions.names, config.cache.dtype).values()
    return sum(part.bytes for part in layout.values())


def make_room(root: Path, needed: float, budget: float, keep: Collection[str], tell: Callable[[str], None]) -> None:
    """Remove the least recently used spaces below `root` until `needed` MiB more fit into `budget` MiB.

    Spaces named in `keep` are kept; `tell` receives a sentence for each removed space.

    Raises:
        StorageError: The disk is full.
    """
    held = sizes_of(root)
    over = sum(held.values()) / _MIB + needed - budget
    for name, size in held.items():
        if over > 0 and name not in keep and remove_space(root / name):
            tell(f"teacher cache: removed {size / _MIB:.1f} MiB of another teacher or preprocessing to free space")
            over -= size / _MIB
    free = shutil.disk_usage(root).free / _MIB
    if needed * _SPARE > free:
        raise StorageError(
            f"the teacher cache needs {needed:.1f} MiB more in {root}, {free:.1f} MiB are free",
            required="free disk space",
            fix="free some, choose another directory with cache.directory, or set cache.enabled to false",
        )


def held_mib(root: Path) -> float:
    """Return the MiB of all features below a directory."""
    return sum(sizes_of(root).values()) / _MIB


def sizes_of(root: Path) -> dict[str, int]:
    """Return the bytes of every space, the least recently used first."""
    found: dict[str, tuple[float, int]] = {}
    for about in root.glob(f"*/{ABOUT}"):
        # other processes may remove files meanwhile
        with suppress(FileNotFoundError):
            found[about.parent.name] = (about.stat().st_mtime, sum(_size(path) for path in about.parent.iterdir()))
    return {name: size for name, (_, size) in sorted(found.items(), key=lambda item: item[1][0])}


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def remove_space(directory: Path, *, really: bool = True) -> bool:
    """Remove a space unless a process has it open; return whether it was removed, or could be if not `really`."""
    try:
        with space_lock(directory).write_lock(blocking=False):
            if really:
                shutil.rmtree(directory, ignore_errors=True)
    except Timeout:
        return False
    return True
