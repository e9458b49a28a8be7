"""How good a model answers, by task: what `evaluate` measures and `compare`, `extract` and `report` quote."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from lorkit.decompose.documents.base import Interval, Part, Share, narrow


class Roc(Part):
    """The ROC curve of one class against the rest."""

    fpr: Annotated[list[Share], Field(min_length=2)]
    tpr: Annotated[list[Share], Field(min_length=2)]


class Reliability(Part):
    """Cases in bins of the confidence of their answer, a value per bin; null in an empty one."""

    low: list[float]
    high: list[float]
    n: list[int]
    confidence: list[Share | None]
    accuracy: list[Share | None]


class ClassScores(Part):
    """One class against the rest."""

    class_name: str = Field(alias="class")
    n: int
    recall: Share | None
    precision: Share | None
    auroc: Share | None
    auroc_ci: Interval | None = None
    roc: Roc | None = None


class StructureScores(Part):
    """One structure of a segmentation."""

    structure: str
    n: int
    """Cases whose true mask holds it."""
    defined: int
    """Cases with a Dice: the true or the predicted mask holds it."""
    dice: Share | None
    ci: Interval | None


class Figures(Part):
    """What the scores of every task have: cases, groups, and 95 % intervals by metric."""

    n: int
    groups: int

    def value(self, metric: str) -> float | None:
        """Return a metric by name; None where it is undefined or of another task."""
        found: float | None = getattr(self, metric, None)
        return found


class ClassificationFigures(Figures):
    """How good a classifier is."""

    accuracy: Share | None
    balanced_accuracy: Share | None
    auroc: Share | None
    ece: Share | None
    brier: float | None
    ci: dict[str, Interval | None]


class SegmentationFigures(Figures):
    """How good a segmenter is."""

    dice: Share | None
    ci: dict[str, Interval | None]


class ClassificationScores(ClassificationFigures):
    """How good a classifier is, with its tables."""

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
        """Classes without a case, which leave the means over classes undefined."""
        return [row.class_name for row in self.per_class if not row.n]

    @property
    def figures(self) -> ClassificationFigures:
        """The same without tables."""
        return narrow(ClassificationFigures, self)


class SegmentationScores(SegmentationFigures):
    """How good a segmenter is, with its tables."""

    per_structure: list[StructureScores]

    @property
    def cases(self) -> dict[str, int]:
        """Cases that hold each structure."""
        return {row.structure: row.n for row in self.per_structure}

    @property
    def undefined(self) -> list[str]:
        """Structures without a Dice, which leave the mean over structures undefined."""
        return [row.structure for row in self.per_structure if not row.defined]

    @property
    def figures(self) -> SegmentationFigures:
        """The same without tables."""
        return narrow(SegmentationFigures, self)


TaskFigures = ClassificationFigures | SegmentationFigures
TaskScores = ClassificationScores | SegmentationScores
