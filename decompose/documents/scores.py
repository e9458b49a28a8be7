"""Accuracy of a model by task, as `evaluate` measures it and `compare`, `extract` and `report` show it."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from lorkit.decompose.documents.base import Interval, Part, Places, Share, narrow
from lorkit.decompose.documents.mask_scores import MaskFigures, StructureScores, Unit, VolumeUnit

HEADLINE = "headline"
"""The metric of regions with several tasks: of each the headline metric of its own task."""


class Roc(Part):
    """The ROC curve of one class against the rest."""

    fpr: Annotated[list[Share], Field(min_length=2)]
    tpr: Annotated[list[Share], Field(min_length=2)]


class Reliability(Part):
    """Cases in bins of confidence, one value per bin; null in an empty one."""

    lows: list[float]
    highs: list[float]
    counts: list[int]
    confidences: list[Share | None]
    accuracies: list[Share | None]


class ClassScores(Part):
    """One class against the rest."""

    class_name: str = Field(alias="class")
    n: int
    recall: Share | None
    """Its share of right answers: the sensitivity."""
    specificity: Share | None = None
    """Of the cases of other classes, the share that is answered as one of them."""
    ppv: Share | None
    """Of the cases that are answered as this class, the share that is of it: the positive predictive value."""
    npv: Share | None = None
    """Of the other cases, the share that is of another class: the negative predictive value."""
    ci: dict[str, Interval | None] = {}
    """Of these four, 95 % over groups; empty where they were not stored."""
    auroc: Share | None
    auroc_ci: Interval | None = None
    roc: Roc | None = None


class PrecisionRecall(Part):
    """Precision among the cases with the highest scores, by the share of the positive cases that they hold."""

    recalls: Annotated[list[Share], Field(min_length=1)]
    precisions: Annotated[list[Share], Field(min_length=1)]


class ScoreHistogram(Part):
    """Cases of a class and all others by calibrated probability, in bins that are equally wide in log-odds."""

    edges: Annotated[list[Share], Field(min_length=2)]
    """Between the bins, one more than there are."""
    positive: list[int]
    negative: list[int]


class LabelScores(Part):
    """One label of a multilabel network; null where it has no positive or no negative case."""

    auroc: Share | None
    ap: Share | None
    """Average precision; a network that knows nothing has the share of positive cases."""
    threshold: Share | None
    """Probability from which the label counts as positive, chosen on validation; null if none could be chosen."""
    n_positive: int
    n_negative: int
    n_uncertain: int
    sensitivity: Share | None
    """At the threshold, as are the next three."""
    specificity: Share | None
    ppv: Share | None = None
    """The positive predictive value."""
    npv: Share | None = None
    """The negative predictive value."""
    ece: Share | None
    brier: Share | None
    ci: dict[str, Interval | None]
    roc: Roc | None = None
    reliability: Reliability | None = None


class RecallAt(Part):
    """Recall among the nodes with the highest scores: the mean over the positive classes."""

    at: Places
    """As stated: a number of nodes, or a share of all."""
    k: int
    """Nodes looked at; all of them where more were stated."""
    recall: Share | None
    ci: Interval | None


class PositiveScores(LabelScores):
    """A positive class of nodes against the rest."""

    recall_at_k: Share | None
    """Share of the positive cases among the k with the highest scores."""
    k: int
    """The number of positive cases, unless `recall_at` of the region states another one."""
    pr: PrecisionRecall | None = None
    histogram: ScoreHistogram | None = None
    """Null where it was not stored."""


class Figures(Part):
    """Scores of every task: cases, groups, and 95 % intervals by metric."""

    n: int
    groups: int
    headline_metric: ClassVar[str]

    def value(self, metric: str) -> float | None:
        """Return a metric by name; None if it is undefined or of another task. `headline` is that of the own task."""
        found: float | None = getattr(self, self.headline_metric if metric == HEADLINE else metric, None)
        return found


class ClassificationFigures(Figures):
    """Scores of a classifier."""

    headline_metric = "balanced_accuracy"
    accuracy: Share | None
    balanced_accuracy: Share | None
    auroc: Share | None
    ece: Share | None
    brier: float | None
    ci: dict[str, Interval | None]


class SegmentationFigures(Figures, MaskFigures):
    """Scores of a segmentation network: means over structures."""

    headline_metric = "dice"
    unit: Unit | None = None
    """Of `hd95` and tolerances."""
    nsd_tolerance: dict[str, float] = {}
    """By structure."""
    volume_unit: VolumeUnit | None = None
    """Of `volume_bias`."""
    empty_cases: str | None = None
    """The rule for cases in which a mask lacks a structure."""


class MultilabelFigures(Figures):
    """Scores of a multilabel network: means over the labels with positive and negative cases."""

    headline_metric = "auroc"
    auroc: Share | None
    ap: Share | None
    ece: Share | None
    brier: Share | None
    ci: dict[str, Interval | None]


class NodeFigures(Figures):
    """Scores of a network of nodes: of the second of two classes, or means over the classes of more."""

    headline_metric = "ap"
    ap: Share | None
    """Average precision; a network that knows nothing has the share of positive nodes."""
    auroc: Share | None
    recall_at_k: Share | None
    """Among as many nodes as are positive, or the first of `recall_at`."""
    f1_macro: Share | None
    """Mean F1 score over all classes; this and the next three at the threshold."""
    gmean: Share | None
    """Geometric mean of the recalls of all classes."""
    accuracy: Share | None
    balanced_accuracy: Share | None
    ece: Share | None
    brier: float | None
    ci: dict[str, Interval | None]
    recall_at: list[RecallAt] = []
    """Where the region states `recall_at`."""


class ClassTables(Part):
    """Tables of the answers of mutually exclusive classes."""

    confusion: list[list[int]]
    """Cases by true class (row) and predicted class (column)."""
    reliability: Reliability
    per_class: list[ClassScores]

    @property
    def cases(self) -> dict[str, int]:
        """Cases of each class."""
        return {row.class_name: row.n for row in self.per_class}

    @property
    def undefined(self) -> list[str]:
        """Classes without a case, for which the means over classes are undefined."""
        return [row.class_name for row in self.per_class if not row.n]


class ClassificationScores(ClassificationFigures, ClassTables):
    """Scores of a classifier, with tables."""

    @property
    def figures(self) -> ClassificationFigures:
        """The scores without tables."""
        return narrow(ClassificationFigures, self)


class NodeScores(NodeFigures, ClassTables):
    """Scores of a network of nodes, with tables."""

    labels: dict[str, PositiveScores]
    """By positive class."""

    @property
    def figures(self) -> NodeFigures:
        """The scores without tables."""
        return narrow(NodeFigures, self)


class SegmentationScores(SegmentationFigures):
    """Scores of a segmentation network, with tables."""

    per_structure: list[StructureScores]

    @property
    def cases(self) -> dict[str, int]:
        """Number of cases with each structure."""
        return {row.structure: row.n for row in self.per_structure}

    @property
    def undefined(self) -> list[str]:
        """Structures without a Dice, for which the mean over structures is undefined."""
        return [row.structure for row in self.per_structure if not row.defined]

    @property
    def figures(self) -> SegmentationFigures:
        """The scores without tables."""
        return narrow(SegmentationFigures, self)


class MultilabelScores(MultilabelFigures):
    """Scores of a multilabel network, with tables."""

    labels: dict[str, LabelScores]

    @property
    def cases(self) -> dict[str, int]:
        """Number of positive cases of each label."""
        return {name: row.n_positive for name, row in self.labels.items()}

    @property
    def undefined(self) -> list[str]:
        """Labels without a positive or without a negative case, which the means leave out."""
        return [name for name, row in self.labels.items() if not (row.n_positive and row.n_negative)]

    @property
    def figures(self) -> MultilabelFigures:
        """The scores without tables."""
        return narrow(MultilabelFigures, self)


TaskFigures = ClassificationFigures | SegmentationFigures | MultilabelFigures | NodeFigures
TaskScores = ClassificationScores | SegmentationScores | MultilabelScores | NodeScores
