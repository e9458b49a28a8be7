"""One shared student with one head per region: the multi-task baseline, also used to pre-train a foundation."""

from __future__ import annotations

from collections.abc import Callable

from lorkit.decompose.config import Config, ImageConfig
from lorkit.decompose.errors import UsageError
from lorkit.decompose.methods.base import Method, TrainingModule
from lorkit.decompose.methods.student import student_backbone
from lorkit.decompose.models.backbones.registry import build_backbone
from lorkit.decompose.models.foundation.model import Foundation
from lorkit.decompose.models.regional import RegionalModel
from lorkit.decompose.regions import RegionSet
from lorkit.decompose.tasks import dense_outputs


def shared_network(
    config: Config, backbone: str, regions: RegionSet, *, image: ImageConfig | None = None
) -> RegionalModel:
    """Build a backbone without experts and a head for each region, for `config.image` or another image."""
    image = image or config.image
    network = build_backbone(backbone, channels=image.channels, image_size=image.size, dense=dense_outputs(regions))
    return RegionalModel(network, regions, mean=image.mean, std=image.std)


class SharedStudent(Method):
    """`mtl`: cross-entropy of every region on one backbone."""

    name = "mtl"

    def network(self, config: Config, regions: RegionSet) -> RegionalModel:
        """Build the student with a head for each region."""
        image = config.image
        return RegionalModel(student_backbone(config, regions), regions, mean=image.mean, std=image.std)

    def module_of(self, live: RegionalModel, config: Config, foundation: Foundation | None) -> TrainingModule:
        """Train the student with the loss of its tasks alone."""
        del foundation
        return TrainingModule(live, config.train)


class SeparateStudents(SharedStudent):
    """`stl`: one network and phase per region."""

    name = "stl"
    separate = True


class TaughtStudents(SeparateStudents):
    """One student per region that learns from the frozen foundation; the student alone is deployed.

    Attributes:
        module: What is trained.
        kind: What learning from a foundation is called here.
    """

    uses_teacher = True
    module: Callable[[RegionalModel, Config, Foundation], TrainingModule]
    kind: str

    def build(self, config: Config, regions: RegionSet, foundation: Foundation | None) -> TrainingModule:
        """Build the student and its comparison; raise UsageError without a foundation."""
        if foundation is None:
            raise UsageError(
                f"{self.kind} without a foundation", required="a frozen teacher", fix="set foundation.weights"
            )
        return super().build(config, regions, foundation)

    def module_of(self, live: RegionalModel, config: Config, foundation: Foundation | None) -> TrainingModule:
        """Build what the student learns with from the foundation; raise UsageError if stages do not match."""
        assert foundation is not None
        return self.module(live, config, foundation)


METHODS = (SharedStudent(), SeparateStudents())
