"""One training: which regions, on which samples, for how long, and where its checkpoints are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from lorkit.decompose.config import Config, TrainConfig
from lorkit.decompose.data.batches.pool import SamplePool, pools_of
from lorkit.decompose.data.prepared import PreparedRegion
from lorkit.decompose.data.samples.label_table import NEGATIVE, POSITIVE
from lorkit.decompose.methods.losses.logit_adjustment import adjustment_notices, is_adjusted, logit_shift
from lorkit.decompose.regions import RegionSet
from lorkit.decompose.training.feature_cache import FeatureCacheFactory
from lorkit.decompose.training.training_data import PreparedParts, TrainingData


@dataclass(frozen=True, kw_only=True)
class Phase:
    """One training phase: its regions, samples, settings, and directory of checkpoints.

    `settings.batch_size` is that of one rank. `pos_weights` are the `pos_weight` of multilabel regions. `teacher_train`
    is `train` prepared for a teacher with other image settings; `cache_factory` opens the cache of the teacher's
    features. `unlabelled` are samples without labels, for the terms of a teacher, and `share` is their part of a
    region's samples in a batch. `further` are all training samples prepared for each further teacher. Without `val`
    nothing is validated, and the last epoch is kept.
    """

    name: str
    regions: RegionSet
    train: Mapping[str, PreparedRegion]
    val: Mapping[str, PreparedRegion]
    settings: TrainConfig
    seed: int
    directory: Path
    pos_weights: Mapping[str, float | Literal["auto"]] = field(default_factory=dict)
    teacher_train: Mapping[str, PreparedRegion] | None = None
    cache_factory: FeatureCacheFactory | None = None
    unlabelled: Mapping[str, PreparedRegion] = field(default_factory=dict)
    teacher_unlabelled: Mapping[str, PreparedRegion] = field(default_factory=dict)
    share: float = 0.0
    further: Sequence[Mapping[str, SamplePool] | None] = ()

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
        taught: bool = False,
    ) -> Phase:
        """Return the training of a configuration on some regions of its data, all by default.

        Only a phase that is `taught` by a teacher uses unlabelled samples.
        """
        members = regions or data.regions
        asked = [region for region in members.names if taught and region in data.unlabelled]
        theirs = data.for_teacher.unlabelled if asked else {}
        parts = {"train": data.train, "val": data.val}
        return cls(
            name=name,
            regions=members,
            **{part: {region: rows[region] for region in members.names} for part, rows in parts.items()},
            settings=config.train,
            seed=config.seed,
            directory=checkpoints / name,
            pos_weights={
                region: weight for region in members.names if (weight := config.regions[region].pos_weight) is not None
            },
            teacher_train=None if data.teacher is None else {one: data.teacher["train"][one] for one in members.names},
            cache_factory=cache_factory,
            unlabelled={region: data.unlabelled[region] for region in asked},
            teacher_unlabelled={region: theirs[region] for region in asked},
            share=config.unlabelled.share,
            further=[_pools(parts, members) for parts in data.further] if taught else (),
        )

    def pools(self, *, teacher: bool = False) -> dict[str, SamplePool]:
        """Return the training samples of each region with its unlabelled ones, prepared for student or teacher."""
        own = self.teacher_train is None or not teacher
        parts = (self.train, self.unlabelled) if own else (self.teacher_train or {}, self.teacher_unlabelled)
        return pools_of(*parts, self.regions)

    def loss_weights(self, device: torch.device) -> dict[str, Tensor]:
        """Return the factors of the loss of positive labels of each multilabel region that has some, (L,).

        They are as stated, or for `auto` the training part's negatives per positive.
        """
        found = {}
        for name, weight in self.pos_weights.items():
            label_NL = torch.from_numpy(self.train[name].labels)
            counts_2L = torch.stack([(label_NL == kind).sum(0) for kind in (NEGATIVE, POSITIVE)]).float()
            auto_L = counts_2L[0] / counts_2L[1].clamp_min(1)
            found[name] = (auto_L if weight == "auto" else torch.full_like(auto_L, weight)).to(device)
        return found

    def logit_shifts(self, device: torch.device) -> dict[str, Tensor]:
        """Return what `train.logit_adjustment` adds to the logits of each region in the loss, (C,); empty without it.

        The shares of the classes are those of this training part, so of a fraction in `compare`.
        """
        tau = self.settings.logit_adjustment
        if tau is None:
            return {}
        regions = [region for region in self.regions if is_adjusted(region)]
        shifts = {one.name: logit_shift(self.train[one.name].labels, len(one.classes), tau) for one in regions}
        return {name: shift_C.to(device) for name, shift_C in shifts.items()}

    def notices(self) -> list[str]:
        """Return sentences on settings that have no effect on a region."""
        return adjustment_notices(self.settings, self.regions)


def _pools(parts: PreparedParts | None, regions: RegionSet) -> dict[str, SamplePool] | None:
    """Return the training samples of regions as a further teacher sees them; None if as the student."""
    return None if parts is None else pools_of(parts["train"], parts.get("unlabelled"), regions)
