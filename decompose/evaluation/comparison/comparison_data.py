"""Data and teacher that all cells of a comparison share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from lorkit.decompose.artifacts import digest_json
from lorkit.decompose.config import Config, config_digest
from lorkit.decompose.data import PreparedRegion, RegionSamples, Splits
from lorkit.decompose.events import Listener
from lorkit.decompose.metrics.thresholds import Policy
from lorkit.decompose.models.foundation.model import Foundation
from lorkit.decompose.models.foundation.teacher import Teacher
from lorkit.decompose.regions import RegionSet
from lorkit.decompose.training.foundation.further_teachers import inputs_of_teachers
from lorkit.decompose.training.foundation.pretraining import foundation_inputs
from lorkit.decompose.training.training_data import (
    TrainingData,
    prepare_for_further,
    prepare_for_teacher,
    prepare_parts,
    prepare_unlabelled,
)

Budget = Literal["steps", "epochs"]
BUDGETS: tuple[Budget, ...] = ("steps", "epochs")


@dataclass(frozen=True, kw_only=True)
class ComparisonData:
    """Data and teacher that all cells of a comparison share.

    Attributes:
        training_data: Regions with their whole training and validation parts, from which fractions are taken.
        test: Whole test parts; None while settings are chosen, so that they cannot be read.
        foundation: The teacher; None if no method needs one.
        further: Further teachers; none if no method learns from them.
        teacher_test: `test` prepared for the foundation; None if that is the same.
        policies: By region, how validation chooses thresholds.
        digest: Digest of data, splits and foundation.
        foundations: Directory of foundations and of cached features.
        budget: `steps` gives networks per region the optimiser steps of the joint training.
    """

    training_data: TrainingData
    test: Mapping[str, PreparedRegion] | None
    foundation: Foundation | None
    digest: str
    foundations: Path = Path("foundations")
    budget: Budget = "steps"
    teacher_test: Mapping[str, PreparedRegion] | None = None
    policies: Mapping[str, Policy | None] = field(default_factory=dict)
    further: Sequence[Foundation] = ()

    @property
    def for_teacher(self) -> ComparisonData:
        """The same samples prepared for the foundation, to score it and the methods that deploy it."""
        test = self.test if self.teacher_test is None else self.teacher_test
        return replace(self, training_data=self.training_data.for_teacher, test=test, teacher_test=None)

    @property
    def split(self) -> Literal["test", "val"]:
        """Name of the part that cells are scored on."""
        return "val" if self.test is None else "test"

    @property
    def scored_part(self) -> Mapping[str, PreparedRegion]:
        """The part that cells are scored on."""
        return self.training_data.val if self.test is None else self.test

    @property
    def shape(self) -> tuple[int, ...]:
        """(C, *spatial) of an image."""
        return tuple(next(iter(self.training_data.val.values())).images.shape[1:])


def prepare_comparison(
    config: Config,
    samples: Mapping[str, RegionSamples],
    splits: Splits,
    split: str,
    teacher: Teacher | None,
    on_event: Listener,
    budget: Budget = "steps",
    unlabelled: Mapping[str, RegionSamples] | None = None,
) -> ComparisonData:
    """Prepare the parts on which the cells of a comparison are trained and scored, and samples without labels."""
    others = unlabelled or {}
    names = tuple(dict.fromkeys(("train", "val", split)))
    parts = prepare_parts(config, samples, splits, config.image, names, on_event)
    seen = prepare_for_teacher(config, samples, splits, config.image, names, on_event)
    regions = RegionSet(one.region for one in samples.values())
    digests = {name: one.digest for name, one in samples.items()}
    if seen is not None:
        seen["unlabelled"] = prepare_unlabelled(config, others, config.foundation_image, on_event)
    training_data = TrainingData(
        regions=regions,
        train=parts["train"],
        val=parts["val"],
        teacher=seen,
        unlabelled=prepare_unlabelled(config, others, config.image, on_event),
        further=prepare_for_further(config, samples, splits, config.image, others, on_event),
    )
    # all that determines a cell besides its settings; digests of samples include labels and groups
    shared = {"data": digests, "split": splits.digests(samples)}
    if others:
        shared["unlabelled"] = {name: one.digest for name, one in others.items()}
    if config.teachers:
        shared["teachers"] = inputs_of_teachers(config, regions, digests)
    foundation = foundation_inputs(config, regions, digests, teacher)
    digest = digest_json(shared | {"foundation": foundation, "budget": budget})
    unseen = None if seen is None else seen.get("test")
    return ComparisonData(
        training_data=training_data,
        test=parts.get("test"),
        foundation=None,
        digest=digest,
        teacher_test=unseen,
        budget=budget,
        policies={name: config.regions[name].threshold for name in samples},
    )


def identity_of(config: Config, samples: Mapping[str, RegionSamples], budget: Budget) -> str:
    """Return the digest of what all cells share, so that a longer list of methods reuses the cells of a shorter one."""
    return digest_json(
        {
            "settings": config_digest(config),
            "budget": budget,
            "data": {name: one.digest for name, one in samples.items()},
        }
    )
