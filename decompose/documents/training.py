"""What `decompose train` and `decompose pretrain` made, and the plan of a dry run."""

from __future__ import annotations

from typing import Literal

from lorkit.decompose.documents.base import Document, Part, PathText
from lorkit.decompose.events import CacheStatistics


class NetworkCost(Part):
    """The cost of a backbone for one image; null for a teacher that torch does not run."""

    parameters: int | None
    macs: int | None


class StudentPlan(NetworkCost):
    """A backbone, its cost for one image, and its published weights."""

    backbone: str
    weights: str | None
    weights_match: str | None
    """How the weights fit; null without any."""


class FoundationPlan(StudentPlan):
    """A foundation and its pre-training or fine-tuning."""

    input_shape: list[int]
    """Channels and sides of an image."""
    epochs: int
    steps_per_epoch: int


class PhasePlan(Part):
    """A phase of training."""

    name: str | None = None
    """Present for a pre-distillation."""
    region_names: list[str]
    epochs: int
    steps_per_epoch: int


class ExpertLayer(Part):
    """A layer with low-rank experts."""

    name: str
    weight: list[int]
    """Shape of its weight."""
    rank: int
    """The highest of the regions."""
    strategy: str
    macs: int
    """Of the layer without experts, for one image."""
    overhead: float
    """Multiply-accumulates of the experts as a fraction of `macs`."""
    parameters: int
    """Of the factors of all regions."""


class StageShapes(Part):
    """Shapes at one stage of a reprogramming method."""

    teacher_shape: list[int]
    reprogrammed_shape: list[int]
    student_shape: list[int]
    parameters: int
    """Of its reprogramming."""


class GradientPathCheck(Part):
    """A gradient path, and whether gradients flow."""

    path: str
    flows: bool


class Rehearsal(Part):
    """The check of a reprogramming method; costs are those of one image, forward."""

    stages: list[StageShapes]
    trainable_parameters: int
    frozen_parameters: int
    student_macs: int
    teacher_macs: int
    extra_macs: int
    cka_view: str
    gradient_paths: list[GradientPathCheck]


class FeatureCachePlan(Part):
    """Maximum size of the cache of the teacher's features."""

    images: int
    views: int
    bytes_per_view: int
    dtype: str
    mib: float
    budget_mib: float
    directory: str


class RoutingPlan(Part):
    """The router of a student with mixed adapters."""

    router: str
    reads: list[int]
    """Shape of its input."""
    adapters: int
    gates_per: str
    """One gate of each adapter per `network` or per `stage`."""
    layer_count: int
    """Layers with adapters."""
    macs: int
    share_of_backbone: float
    """Multiply-accumulates of the router as a fraction of the backbone's."""
    student_macs: int
    """Of the whole student with its mixed adapters."""


class Plan(Part):
    """The plan of a training."""

    method: str
    of_nodes: bool
    """Whether the regions are graphs."""
    input_shape: list[int]
    """Channels and sides of an image."""
    regions: dict[str, dict[str, int]]
    """Cases by region and part."""
    foundation: FoundationPlan | None
    """Null for a method without one."""
    teachers: list[FoundationPlan] = []
    """Further teachers; absent without any."""
    student: StudentPlan
    phases: list[PhasePlan]
    training_parameters: int
    expert_layers: list[ExpertLayer]
    expert_mac_overhead: float
    layers_without_experts: list[tuple[str, str]]
    """Each with the reason."""
    epochs: int
    batch_size: int
    rehearsal: Rehearsal | None
    """Null for methods without reprogramming."""
    teacher_cache: FeatureCachePlan | None
    routing: RoutingPlan | None
    origin: dict[str, str] | None = None
    """The artifact that the run is made from; absent without one."""


class TrainDocument(Document):
    """The run that `decompose train` made or planned."""

    kind: Literal["train"] = "train"
    run: PathText
    up_to_date: bool
    """It existed with the same settings and data."""
    plan: Plan | None
    """Null unless it is a dry run."""
    region_names: list[str]
    best: dict[str, float]
    """Mean of the headline metric on validation at the best epoch, by phase."""
    seconds: float
    """Training time without the foundation."""
    cache_statistics: list[CacheStatistics]
    """Time saved by the cache of the teacher's features, by phase."""


class PretrainDocument(Document):
    """The foundation that `decompose pretrain` made or found."""

    kind: Literal["pretrain"] = "pretrain"
    path: PathText | None
    """Null if the configuration names weights, so that nothing was to do."""
