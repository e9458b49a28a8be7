"""`export.json`: an export and its parity; and the result of `decompose export`."""

from __future__ import annotations

from typing import Literal

from pydantic import JsonValue

from lorkit.decompose.documents.base import Digest, Document, Owner, Part, PathText, Tools, combine, narrow
from lorkit.decompose.documents.gate import Accuracy, JudgedAccuracy, Latency
from lorkit.decompose.documents.heads import LOGITS, Head, Mixture, first_input
from lorkit.decompose.documents.network import NetworkInfo, RegionInfo
from lorkit.decompose.documents.scores import ClassificationFigures, MultilabelFigures, NodeFigures, SegmentationFigures
from lorkit.decompose.documents.verify import ImageKind, ParityBlock
from lorkit.decompose.machine import Machine
from lorkit.decompose.regions import Region


class WeightCount(Part):
    """Weights of one number format."""

    tensors: int
    elements: int


class Graph(Part):
    """Contents of an ONNX file."""

    opset: int | None = None
    nodes: int | None = None
    size_bytes: int
    """Size of the engine on disk."""
    dtype_census: dict[str, WeightCount] = {}


class CalibrationSet(Part):
    """Images for the calibration of int8."""

    part: str
    n: int
    inputs: ImageKind


class LayerError(Part):
    """Error of one layer at the lower precision."""

    layer: str
    layer_error: float


class Lowering(Part):
    """Conversion of a graph to a lower precision."""

    scheme: str | None = None
    calibration: CalibrationSet | None = None
    sensitive_layers: list[LayerError] = []
    """The most sensitive layers, the worst first."""
    kept_fp32: list[str] = []
    tried: bool = False


class KeptSamples(Part):
    """Contents of `samples.npz`."""

    inputs: ImageKind
    n: int


class ExportSource(Part):
    """The artifact that an export was made from."""

    kind: str
    manifest: Digest
    weights: Digest


class ExportedNetwork(NetworkInfo):
    """The exported network, and the meaning of its output channels."""

    owner: Owner
    outputs: list[str] = []
    mixture: Mixture | None = None
    """Its heads, if it has those of several regions; its outputs are then described there."""

    @property
    def heads(self) -> list[Head]:
        """Its heads: one, with the output `logits`, unless it has those of several regions."""
        if self.mixture is not None:
            return self.mixture.heads
        return [combine(Head, narrow(RegionInfo, self), output=LOGITS)]

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of its inputs."""
        return (first_input(self.recipe),) if self.mixture is None else self.mixture.inputs

    @property
    def output_names(self) -> tuple[str, ...]:
        """Names of its outputs."""
        return (LOGITS,) if self.mixture is None else self.mixture.output_names

    def as_region(self) -> Region:
        """Return its region; of several heads their regions as one."""
        return super().as_region() if self.mixture is None else self.mixture.as_region()


class ExportInfo(ExportedNetwork, Graph, Document):
    """The `export.json` of an export."""

    kind: Literal["export"] = "export"
    target: str
    runtime: str | None = None
    profile: str
    hardware: dict[str, JsonValue] | None = None
    """Hardware profile of the build."""
    precision: str
    provider: str | None = None
    engine_file: str | None = None
    """Null if the engine could not be built here."""
    graph_precision: str | None = None
    lowering: Lowering | None = None
    onnx_digest: Digest | None = None
    parity: ParityBlock
    kept_samples: KeptSamples | None = None
    made_from: ExportSource | None = None


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
