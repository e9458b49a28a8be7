"""The result of `decompose export`, what `auto` measured, and the scores of exports of lower precision.

Apart from `export.json`, which a prediction reads: these contain what the gate measures.
"""

from __future__ import annotations

from typing import Literal

from lorkit.decompose.documents.base import Digest, Document, Owner, Part, PathText, Tools
from lorkit.decompose.documents.gate import Accuracy, JudgedAccuracy, Latency
from lorkit.decompose.documents.scores import ClassificationFigures, MultilabelFigures, NodeFigures, SegmentationFigures
from lorkit.decompose.documents.verify import ParityBlock
from lorkit.decompose.machine import Machine


class ExportCandidate(Part):
    """A target and precision that `auto` tried."""

    target: str
    precision: str
    verdict: Literal["kept", "lost"]
    latency_test: Latency | None
    """At the tuned batch size."""
    other_latency_tests: list[Latency] = []
    """At the other batch sizes."""
    accuracy_test: JudgedAccuracy | Accuracy | None
    size_bytes: int | None = None
    kept_fp32: list[str] | None = None
    reason: str


class ChoiceConditions(Part):
    """Conditions of a choice: networks, limits, machine and libraries."""

    input_digests: dict[str, Digest]
    """By the name of the export's directory."""
    max_accuracy_drop: float
    batches: list[int]
    """The tuned batch size first."""
    threads: int
    seconds: float
    seed: int
    machine: Machine
    tools: Tools


class ExportChoice(Part):
    """The choice of `auto` for one region."""

    target: str
    profile: str
    precision: str
    target_option: str
    """What `--target` was: a target, or `auto`."""
    precision_option: str
    """What `--precision` was."""
    baseline: str
    """Target of the fp32 export that all candidates were compared with."""
    candidates: list[ExportCandidate]
    conditions: ChoiceConditions
    reasons: list[str]


class ChoiceRecord(Document):
    """Measurements of `auto` on a run, for one `--target` and profile."""

    kind: Literal["choice"] = "choice"
    created: str
    run: str
    synthetic: bool
    target: str
    profile: str
    machine: Machine
    tools: Tools
    regions: dict[str, ExportChoice]


class ExportResult(Part):
    """One export on disk."""

    path: PathText
    owner: Owner
    region: str
    target: str
    profile: str
    precision: str
    parity: ParityBlock
    """The `parity` of its `export.json`; `status` is passed or not_run."""
    size_bytes: int
    up_to_date: bool
    """Whether it existed already, from the same inputs."""
    choice: ExportChoice | None
    """Measurements of the choice under `auto`."""


class ExportDocument(Document):
    """The exports that `decompose export` built or found up to date."""

    kind: Literal["export"] = "export"
    exports: list[ExportResult]


class ScoredClassifier(ClassificationFigures):
    """Accuracy of an export with its own engine."""

    path: str
    provider: str


class ScoredSegmenter(SegmentationFigures):
    """Accuracy of an export with its own engine."""

    path: str
    provider: str


class ScoredMultilabel(MultilabelFigures):
    """Accuracy of an export with its own engine."""

    path: str
    provider: str


class ScoredNodes(NodeFigures):
    """Accuracy of an export with its own engine."""

    path: str
    provider: str


ScoredExport = ScoredClassifier | ScoredSegmenter | ScoredMultilabel | ScoredNodes


class ExportScores(Document):
    """Scores of exports of lower precision on the test split, by digest of the export."""

    kind: Literal["export_scores"] = "export_scores"
    split: Literal["test"]
    exports: dict[str, ScoredExport]
