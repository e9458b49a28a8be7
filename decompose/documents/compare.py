"""The result of `decompose compare`: methods, seeds and training fractions on the same split and teacher."""

from __future__ import annotations

from typing import Literal

from lorkit.decompose.documents.base import Document, Interval, Part, Share
from lorkit.decompose.documents.evaluate import RegionPrediction
from lorkit.decompose.documents.scores import TaskFigures
from lorkit.decompose.events import CacheStatistics, EpochRow
from lorkit.decompose.machine import Machine


class MethodRow(Part):
    """A compared method: as configured, or a variant with its own settings."""

    label: str
    method: str
    settings: list[str]
    digest: str
    """Digest of its settings without the seed."""
    random_teacher: bool = False
    """Whether the foundation's architecture with random weights teaches, instead of the foundation."""


class DeployedCosts(Part):
    """Costs of the largest of the regions' deployed networks."""

    parameters: int
    """Of trees the number of their nodes."""
    macs: int
    """Of one image or node; of trees the most comparisons."""
    deployed_bytes: int


class Costs(DeployedCosts):
    """Costs of deployment and of training."""

    training_parameters: int
    training_macs: int


class TrainedCosts(Costs):
    """Costs, and the time of training without that of the foundation."""

    train_seconds: float


class Headline(Part):
    """The mean over regions of the tasks' headline metric, under its own name."""

    balanced_accuracy: Share | None = None
    auroc: Share | None = None
    """Of multilabel regions, and beside `ap`."""
    ap: Share | None = None
    """Of regions of nodes."""
    dice: Share | None = None
    headline: Share | None = None
    """Of regions with several tasks, each with its own metric."""

    def value(self, metric: str) -> float | None:
        """Return the metric by name."""
        found: float | None = getattr(self, metric)
        return found


class CellHead(Part):
    """Which training a cell is."""

    method: str
    seed: int
    fraction: float
    random_teacher: bool = False
    """As in `arms`."""


class Exposure(Part):
    """The training that a region got: optimiser steps that held it, and its images in them, repeats included."""

    optimiser_steps: int
    images: int


class CellRow(CellHead, TrainedCosts):
    """The results of a cell: one method, seed and fraction."""

    regions: dict[str, TaskFigures]
    exposure: dict[str, Exposure] = {}
    prediction: RegionPrediction | None = None
    """How the network chose the region of every image; null where it was told it."""


class UnknownRegion(Part):
    """Results of a network that is not told the region of an image; the answer of another region counts as wrong."""

    regions: dict[str, TaskFigures]
    prediction: RegionPrediction
    costs: DeployedCosts
    """Of the one network for all regions."""


class CellDocument(Document):
    """A finished cell: `cell.json`."""

    kind: Literal["cell"] = "cell"
    head: CellHead
    regions: dict[str, dict[str, TaskFigures]]
    """Results by split and region."""
    unknown: dict[str, UnknownRegion] = {}
    """By split, the results where the region is unknown; empty for methods that need it."""
    costs: TrainedCosts
    exposure: dict[str, Exposure]
    history: list[EpochRow]
    teacher_cache: list[CacheStatistics] | None = None
    arm: str
    """Digest of its settings without the seed."""
    bench: str
    """Digest of data, splits and foundation."""


class ComparisonRow(CellRow):
    """A cell in a comparison."""

    label: str


class RegionDrop(Part):
    """The drop from baseline to candidate in one region."""

    drop: float
    ci: Interval
    decidable: float
    """Half-width of the interval."""
    baseline: float
    candidate: float
    n: int
    groups: int
    mcnemar_p: float | None


class MeanDrop(Part):
    """The drop from baseline to candidate, mean over regions."""

    drop: float
    ci: Interval
    decidable: float


class PairedDifference(Part):
    """The drop from baseline to candidate by region and on average, and the numbers of regions won and lost."""

    regions: dict[str, RegionDrop]
    mean_drop: MeanDrop
    wins: int
    losses: int


class ComparedPair(PairedDifference):
    """Two methods on the same cases and seeds."""

    baseline: str
    candidate: str
    fraction: float
    seeds: list[int]
    metric: str


class PredictedRegions(Part):
    """How the networks of all seeds chose the region of every image."""

    right: Share
    """Share of images whose region is predicted right, mean over regions and seeds."""
    ci: Interval
    """95 %, over patients and seeds."""
    regions: dict[str, Share]
    """By true region, mean over seeds."""
    confusion_by_region: dict[str, dict[str, int]]
    """Images by true and by predicted region, of all seeds together."""


class MethodSummary(Headline, TrainedCosts):
    """A method at one fraction, mean over seeds."""

    label: str
    method: str
    random_teacher: bool = False
    """As in `arms`."""
    fraction: float
    seed_count: int
    sd: float | None
    """Over seeds; null for one."""
    ci: Interval | None
    """95 %, over patients and seeds."""
    regions: dict[str, float | None]
    exposure: dict[str, Exposure] = {}
    """The same for every seed."""
    prediction: PredictedRegions | None = None
    """How the networks chose the region of every image; null where they were told it."""


class Gain(Part):
    """How much better one row is than another on the same cases and seeds, mean over regions."""

    label: str
    over: str
    seeds: list[int]
    gain: float
    ci: Interval


class ControlledMethod(Part):
    """A method that learns from the foundation, beside its controls; null where a control was not trained."""

    label: str
    fraction: float
    over_student: Gain | None
    """Over the student alone (`stl`) with the same student and training settings."""
    random_over_student: Gain | None
    """Of the same method with a random teacher, over the student alone."""
    over_random: Gain | None
    """Over the same method with a random teacher: what the foundation's weights add."""
    over_probe: Gain | None
    """Over a linear probe on the foundation's features."""
    without_random_teacher: str | None = None
    """Why there can be no random teacher."""


class ComparedFoundation(Headline):
    """The foundation itself; costs are null for a teacher that torch does not run."""

    backbone: str
    head_kinds: dict[str, str]
    regions: dict[str, TaskFigures]
    parameters: int | None
    macs: int | None
    deployed_bytes: int | None
    training_parameters: int | None
    training_macs: int | None
    ci: Interval | None


class CompareDocument(Document):
    """A comparison of `decompose compare`."""

    kind: Literal["compare"] = "compare"
    id: str
    machine: Machine
    synthetic: bool
    split: Literal["test", "val"]
    metric: str
    equal_budget: Literal["steps", "epochs"]
    """What networks per region share with the joint ones: the optimiser steps, or only the epochs."""
    arms: list[MethodRow]
    foundation: ComparedFoundation | None
    rows: list[ComparisonRow]
    """One per method, seed and fraction."""
    compared_pairs: list[ComparedPair]
    """Each two methods of a fraction, and the foundation with each method."""
    table: list[MethodSummary]
    controls: list[ControlledMethod] = []
    """Of each method of the table that learns from the foundation and has a control in the table."""

    def mean_of(self, label: str, fraction: float) -> float | None:
        """Return the mean of a row of the table; None without it."""
        found = (row.value(self.metric) for row in self.table if (row.label, row.fraction) == (label, fraction))
        return next(found, None)

    @property
    def metric_in_words(self) -> str:
        """The metric without its underscore."""
        return {"ap": "AP"}.get(self.metric, self.metric.replace("_", " "))

    @property
    def nodes(self) -> bool:
        """Whether the compared cases are nodes of graphs."""
        return self.metric == "ap"
