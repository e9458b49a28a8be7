"""The data of a training: the prepared parts of every region, for the student and for the foundation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from lorkit.decompose.config import Config, ImageConfig
from lorkit.decompose.data import PreparedRegion, RegionSamples, Splits, prepare
from lorkit.decompose.data.prepared import PreparedImages
from lorkit.decompose.data.preprocessing.recipe import build_recipe
from lorkit.decompose.events import Listener, Notice, ignore
from lorkit.decompose.regions import RegionSet

PreparedParts = Mapping[str, Mapping[str, PreparedRegion]]
"""Prepared data by part ("train", "val", "test"), then by region."""


@dataclass(frozen=True, kw_only=True)
class TrainingData:
    """Regions, and the prepared training and validation parts of each.

    Attributes:
        teacher: `train` and `val` prepared for the foundation's size and channels; None if they are the same.
    """

    regions: RegionSet
    train: Mapping[str, PreparedRegion]
    val: Mapping[str, PreparedRegion]
    teacher: PreparedParts | None = None

    @property
    def for_teacher(self) -> TrainingData:
        """The same samples prepared for the foundation, to train, probe and score it."""
        if self.teacher is None:
            return self
        return replace(self, train=self.teacher["train"], val=self.teacher["val"], teacher=None)


def same_input(one: ImageConfig, two: ImageConfig) -> bool:
    """Return whether two networks have the same prepared images; normalisation is part of the networks."""
    return (one.size, one.channels) == (two.size, two.channels)


def prepare_parts(
    config: Config,
    samples: Mapping[str, RegionSamples],
    splits: Splits,
    image: ImageConfig,
    parts: Sequence[str] = ("train", "val"),
    on_event: Listener = ignore,
) -> dict[str, dict[str, PreparedRegion]]:
    """Apply each region's recipe for an image size to parts of its originals."""
    recipes = {name: build_recipe(image, config.regions[name]) for name in samples}
    shared = PreparedImages()  # an image of several regions
    return {
        part: {
            name: prepare(
                one,
                recipes[name],
                indices=splits.parts(name)[part],
                shared=shared,
                folds=config.graph.folds if part == "train" else 0,
                on_event=on_event,
            )
            for name, one in samples.items()
        }
        for part in parts
    }


def prepare_for_teacher(
    config: Config,
    samples: Mapping[str, RegionSamples],
    splits: Splits,
    image: ImageConfig,
    parts: Sequence[str] = ("train", "val"),
    on_event: Listener = ignore,
) -> dict[str, dict[str, PreparedRegion]] | None:
    """Prepare parts for the foundation, or return None if those prepared for `image` are the same."""
    own = config.foundation_image
    return None if same_input(own, image) else prepare_parts(config, samples, splits, own, parts, on_event)


def prepare_training_data(
    config: Config, samples: Mapping[str, RegionSamples], splits: Splits, on_event: Listener
) -> TrainingData:
    """Prepare the training and validation parts of regions, and report their notices."""
    data = (config, samples, splits, config.deployed_image)
    parts = prepare_parts(*data, on_event=on_event)
    for text in (text for one in parts["train"].values() for text in one.notices):
        on_event(Notice(text=text))
    seen = prepare_for_teacher(*data, on_event=on_event)
    return TrainingData(regions=RegionSet(one.region for one in samples.values()), teacher=seen, **parts)
