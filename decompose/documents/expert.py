"""`expert.json`: an extracted expert, its source, its checks and measurements."""

from __future__ import annotations

from typing import Literal

from lorkit.decompose.documents.base import Digest, Document, Interval, Part, PathText, TeacherRow
from lorkit.decompose.documents.gated import GatedLayers
from lorkit.decompose.documents.network import ImageShape, NetworkInfo, Normalisation
from lorkit.decompose.documents.scores import TaskScores


class Output(Part):
    """The output of the graph."""

    name: str
    channels: int


class Equality(Part):
    """Differences between the outputs of the extracted network and the live model."""

    n: int
    max_abs_difference: float
    tolerance: float
    label_flips: int
    """Of images, or of pixels."""
    inputs: Literal["real", "phantom"]
    split: Literal["val"]


class BeforeAfter(Part):
    """A count before and after the reduction of rank."""

    before: int
    after: int


class CutScores(Part):
    """The cost of the reduction of rank on the validation split."""

    metric: str
    split: Literal["val"]
    n: int
    groups: int
    before: float
    after: float
    drop: float
    ci: Interval


class CutLayer(Part):
    """A layer with reduced rank, and the remaining fraction of its energy."""

    layer: str
    rank_before: int
    rank: int
    energy_kept: float | None


class Reduction(Part):
    """The reduction of an update to a lower rank."""

    rank: int
    rank_before: int
    layers_cut: int
    factor_parameters: BeforeAfter
    energy_kept: float | None
    validation: CutScores
    layers: list[CutLayer]


class ExpertSource(Part):
    """The run that an expert was extracted from."""

    run: str
    run_manifest: Digest
    method: str
    foundation_backbone: str | None
    """Null if the run has none."""
    student_weights: Digest | None = None
    """Of the file of published weights that the student started from; null for fresh weights."""
    teachers: list[TeacherRow] = []
    """Absent if the student learned from the foundation alone."""
    lorkit: str


class ExpertInfo(NetworkInfo, Document):
    """The `expert.json` of an expert."""

    kind: Literal["expert"] = "expert"
    task: str
    backbone: str
    image: ImageShape
    network_output: Output
    gray: bool
    normalise: Normalisation
    parameters: int
    macs: int
    recalibrated: bool
    cases: dict[str, int]
    synthetic: bool
    made_from: ExpertSource
    equality: Equality
    validation: TaskScores
    reduction: Reduction | None = None
    gated_layers: GatedLayers | None = None
    """Layers with the adapters of a router, which is part of the network; null for a plain network."""


class ExtractedNetwork(Part):
    """One extracted network."""

    region: str
    """Its region, or `router` or `region-id` of a network for all regions."""
    path: PathText
    up_to_date: bool
    """It existed already, from the same run and options."""
    max_difference: float
    """Largest difference of a logit from the trained model on validation images, before a reduction of rank."""
    reduction: Reduction | None
    """Null without a reduction of rank."""


class ExtractDocument(Document):
    """What `decompose extract` wrote."""

    kind: Literal["extract"] = "extract"
    experts: list[ExtractedNetwork]
