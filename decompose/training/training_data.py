"""The data of a training: the prepared parts of every region, for the student and for the foundation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from lorkit.decompose.config import Config, ImageConfig
from lorkit.decompose.config.unlabelled import UnlabelledConfig
from lorkit.decompose.data import PreparedRegion, RegionSamples, Splits, prepare
from lorkit.decompose.data.prepared import PreparedImages
from lorkit.decompose.data.preprocessing.recipe import build_recipe
from lorkit.decompose.data.readers.unlabelled import read_unlabelled
from lorkit.decompose.data.samples.pseudonyms import Pseudonyms
from lorkit.decompose.data.unlabelled import check_unlabelled
from lorkit.decompose.errors import UsageError
from lorkit.decompose.events import Listener, Notice, ignore, with_progress
from lorkit.decompose.methods import Method
from lorkit.decompose.regions import RegionSet

PreparedParts = Mapping[str, Mapping[str, PreparedRegion]]
"""Prepared data by part ("train", "val", "test"), then by region."""
_CHECKED = 64


@dataclass(frozen=True, kw_only=True)
class TrainingData:
    """Regions, and the prepared training and validation parts of each.

    Attributes:
        teacher: All parts prepared for the foundation's size and channels; None if they are the same.
        unlabelled: Samples without labels of the regions that have some.
        further: All parts prepared for each further teacher; None if they are the student's.
    """

    regions: RegionSet
    train: Mapping[str, PreparedRegion]
    val: Mapping[str, PreparedRegion]
    teacher: PreparedParts | None = None
    unlabelled: Mapping[str, PreparedRegion] = field(default_factory=dict)
    further: Sequence[PreparedParts | None] = ()

    def of_teacher(self, index: int) -> TrainingData:
        """Return the same samples with a further teacher in place of the foundation, and no others."""
        return replace(self, teacher=self.further[index], further=())

    @property
    def counts(self) -> dict[str, int]:
        """Training samples of each region, with those without labels."""
        return {name: len(one) + len(self.unlabelled.get(name, ())) for name, one in self.train.items()}

    @property
    def labelled(self) -> TrainingData:
        """The same without the samples without labels."""
        seen = None if self.teacher is None else {**self.teacher, "unlabelled": {}}
        return replace(self, unlabelled={}, teacher=seen)

    @property
    def for_teacher(self) -> TrainingData:
        """The same samples prepared for the foundation, to train, probe and score it."""
        if self.teacher is None:
            return self
        parts = {"unlabelled": {}, **self.teacher}
        return replace(
            self, train=parts["train"], val=parts["val"], unlabelled=parts["unlabelled"], teacher=None, further=()
        )


def check_pseudo_labels(settings: UnlabelledConfig, tasks: Mapping[str, str]) -> None:
    """Refuse pseudo-labels where there is no one confidence.

    Args:
        settings: The section `unlabelled`.
        tasks: By region with images without labels.

    Raises:
        UsageError: A region is no classification.
    """
    for name, task in tasks.items() if settings.pseudo_labels is not None else ():
        if task != "classification":
            raise UsageError(
                f"unlabelled.pseudo_labels for region '{name}' of task {task}",
                required="a classification",
                fix="leave it out: the teacher's terms use these images without it",
            )


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


def check_images(config: Config, samples: Mapping[str, RegionSamples], splits: Splits) -> None:
    """Prepare some images of each region as a training would.

    These are up to 64 of the training and of the validation part, evenly chosen: a whole part may take minutes.

    Raises:
        DataError: An image cannot be used, such as values outside [0, 1] where the region states no window.
    """
    for name, one in samples.items() if not config.image.nodes else ():
        recipe = build_recipe(config.deployed_image, config.regions[name])
        for part in ("train", "val"):
            rows = splits.parts(name)[part]
            chosen = sorted({rows[place * len(rows) // _CHECKED] for place in range(_CHECKED)}) if len(rows) else []
            prepare(one, recipe, indices=chosen)


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
    config: Config,
    samples: Mapping[str, RegionSamples],
    splits: Splits,
    on_event: Listener,
    unlabelled: Mapping[str, RegionSamples] | None = None,
) -> TrainingData:
    """Prepare the training and validation parts of regions and their unlabelled samples, and report their notices."""
    data = (config, samples, splits, config.deployed_image)
    parts = prepare_parts(*data, on_event=on_event)
    for text in (text for one in parts["train"].values() for text in one.notices):
        on_event(Notice(text=text))
    seen = prepare_for_teacher(*data, on_event=on_event)
    others = prepare_unlabelled(config, unlabelled or {}, config.deployed_image, on_event)
    if seen is not None:
        seen = {**seen, "unlabelled": prepare_unlabelled(config, unlabelled or {}, config.foundation_image, on_event)}
    regions = RegionSet(one.region for one in samples.values())
    further = prepare_for_further(*data, unlabelled or {}, on_event)
    return TrainingData(regions=regions, teacher=seen, unlabelled=others, further=further, **parts)


def prepare_for_further(
    config: Config,
    samples: Mapping[str, RegionSamples],
    splits: Splits,
    image: ImageConfig,
    unlabelled: Mapping[str, RegionSamples],
    on_event: Listener,
) -> list[PreparedParts | None]:
    """Prepare the parts and the unlabelled samples for each further teacher; None for one that sees `image`."""
    found: list[PreparedParts | None] = []
    for index in range(len(config.teachers)):
        own = config.of_teacher(index)
        seen = prepare_for_teacher(own, samples, splits, image, on_event=on_event)
        if seen is not None:
            seen["unlabelled"] = prepare_unlabelled(own, unlabelled, own.foundation_image, on_event)
        found.append(seen)
    return found


def prepare_unlabelled(
    config: Config, unlabelled: Mapping[str, RegionSamples], image: ImageConfig, on_event: Listener
) -> dict[str, PreparedRegion]:
    """Apply each region's recipe for an image size to its samples without labels."""
    return {
        name: prepare(one, build_recipe(image, config.regions[name]), on_event=on_event)
        for name, one in unlabelled.items()
    }


def read_unlabelled_of(
    config: Config,
    method: Method,
    samples: Mapping[str, RegionSamples],
    splits: Splits,
    on_event: Listener,
    pseudonyms: Pseudonyms | None,
    *,
    compared: bool = False,
) -> dict[str, RegionSamples]:
    """Read the unlabelled samples of regions that name some, if the method has a teacher that uses them.

    Raises:
        UsageError: `unlabelled.rest` outside a comparison; or as `check_pseudo_labels`.
        DataError: As `read_unlabelled` and `check_unlabelled`.
    """
    if config.unlabelled.rest and method.uses_teacher and not compared:
        raise UsageError(
            "unlabelled.rest in a single training",
            required="a comparison of fractions: it names the patients that a fraction leaves out",
            fix="leave it out, or use decompose compare --fractions 0.05 --unlabelled-rest",
        )
    named = [name for name, region in config.regions.items() if region.unlabelled is not None and name in samples]
    if not named:
        if config.unlabelled != UnlabelledConfig() and not config.unlabelled.rest and not compared:
            on_event(Notice(text="the settings unlabelled have no effect: no region names unlabelled images"))
        return {}
    if not method.uses_teacher or config.unlabelled.share == 0:
        why = "unlabelled.share is 0" if method.uses_teacher else f"{config.method} has no teacher"
        on_event(Notice(text=f"the unlabelled images of {', '.join(named)} are not used: {why}"))
        return {}
    check_pseudo_labels(config.unlabelled, {name: samples[name].task for name in named})
    found = {
        name: read_unlabelled(samples[name], config.regions[name], base=config.base, pseudonyms=pseudonyms)
        for name, _ in with_progress([(name, None) for name in named], "reading unlabelled images", on_event)
    }
    for text in check_unlabelled(samples, splits, found):
        on_event(Notice(text=text))
    return found
