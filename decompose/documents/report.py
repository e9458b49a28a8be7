"""The result of `decompose report`: `report.json`, from which `report.html` and `report.md` are written.

Shares are fractions; undefined or missing values are null.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, JsonValue, RootModel

from lorkit.decompose.documents.base import Digest, Document, Interval, Part, PathText, Places, Share, TeacherRow, Tools
from lorkit.decompose.documents.changes import Changes
from lorkit.decompose.documents.evaluate import ModelName
from lorkit.decompose.documents.gate import GateDocument
from lorkit.decompose.documents.graphs import GraphFacts
from lorkit.decompose.documents.mask_scores import StructureScores, Unit, VolumeUnit
from lorkit.decompose.documents.report_row import MixtureRow, ReportRow
from lorkit.decompose.documents.scores import (
    ClassScores,
    LabelScores,
    PositiveScores,
    RecallAt,
    Reliability,
)
from lorkit.decompose.events import EpochRow
from lorkit.decompose.machine import Machine
from lorkit.decompose.regions import Words, shared_words

Saving = Literal["parameters", "macs", "size_bytes", "latency"]


class ReportedRun(Part):
    """The run that is reported."""

    id: str
    name: str
    method: str
    seed: int
    digest: Digest
    created: str
    has_foundation: bool = True
    """Whether it has a foundation model."""
    teachers: list[TeacherRow] = []
    """Absent if the run has one teacher or none."""
    configuration: dict[str, JsonValue]
    """Its configuration."""


class ReportedRegion(Part):
    """A region and its cases by part."""

    name: str
    task: str
    classes: list[str]
    modality: str | None
    synthetic: bool
    grouped: bool | None = None
    """Whether patients are known, and no patient is in two parts; null where the run does not state it."""
    recall_at: list[Places] = []
    """Numbers or shares of nodes among which the recall is measured."""
    cases: dict[str, int]
    spacing: list[float] | None = None
    """Distance of voxels in mm at which volumes are taken window by window; null where they are resized."""


class RegionTables(Part):
    """The tables of one evaluation in the report."""

    n: int | None
    groups: int | None
    classes: list[str] | None
    confusion: list[list[int]] | None
    reliability: Reliability | None
    per_class: list[ClassScores] | None
    per_structure: list[StructureScores] | None
    labels: dict[str, PositiveScores | LabelScores] | None = None
    recall_at: list[RecallAt] | None = None
    threshold_policy: str | None = None
    unit: Unit | None = None
    nsd_tolerance: dict[str, float] | None = None
    volume_unit: VolumeUnit | None = None
    volume_bias: float | None = None
    volume_bias_relative: float | None = None
    volume_bias_ci: Interval | None = None
    empty_cases: str | None = None
    ece: Share | None
    source: str | None
    ece_ci: Interval | None


class Evaluations(RootModel[dict[ModelName, dict[str, RegionTables] | None]]):
    """Evaluations by model and region; null for a model that was not evaluated."""

    def of(self, model: ModelName, region: str) -> RegionTables | None:
        """Return the tables of one model and region; None if not measured."""
        return (self.root[model] or {}).get(region)


class ClassProbability(Part):
    """A class and its probability."""

    class_name: str = Field(alias="class")
    probability: Share


class Picture(Part):
    """An image with the expert's prediction: an outline of structures, or a class."""

    png: str
    """Base64."""
    width: int
    height: int
    slice: int | None
    """Null for 2D images."""
    annotated: bool
    truth: str | None = None
    answer: str | None = None
    top: list[ClassProbability] = []
    dice_by_structure: dict[str, Share | None] = {}


class TriedExport(Part):
    """A target and precision that `auto` tried."""

    region: str
    target: str
    profile: str
    precision: str
    verdict: str
    reason: str
    ratio: float | None
    ratio_ci: Interval | None
    drop: float | None
    drop_ci: Interval | None


class ChainLink(Part):
    """An artifact and its parent."""

    kind: str
    name: str
    digest: Digest
    parent: Digest | None
    created: str


class ReportedGate(GateDocument):
    """The stored gate."""

    stale: bool
    """It judged an export that has changed."""


class ReportDocument(Document):
    """The document of `decompose report`."""

    kind: Literal["report"] = "report"
    created: str
    synthetic: bool
    machine: Machine
    tools: Tools
    run_info: ReportedRun
    regions: Annotated[dict[str, ReportedRegion], Field(min_length=1)]
    """By name, in order."""
    task: str
    """`mixed` of regions with several tasks."""
    metrics: list[str]
    """Columns of the table."""
    headline_metric: str
    """The metric that the gate judges by; `headline` for several tasks, each with its own."""
    table: list[ReportRow]
    mixtures: list[MixtureRow] = []
    """Exports of networks for several regions."""
    summary: dict[Saving, Interval | None]
    """Savings of the experts: the smallest and largest ratio of foundation over expert among the regions."""
    evaluations: Evaluations
    graphs: dict[str, GraphFacts] = {}
    """By region that is a graph."""
    pictures: dict[str, list[Picture]]
    training: list[EpochRow]
    gate: ReportedGate | None
    precisions: list[TriedExport]
    chain: list[ChainLink]
    commands: list[str]
    """Commands to repeat all of this."""
    changes_since: Changes | None = None

    @property
    def words(self) -> Words:
        """What the samples of the regions are called."""
        return shared_words((region.task, region.grouped) for region in self.regions.values())


class ReportFiles(Document):
    """Locations of a report."""

    kind: Literal["report"] = "report"
    files: list[PathText]
    """`report.html`, `report.md` and `report.json`."""
    up_to_date: bool
    """Whether they existed already, with the same content."""
