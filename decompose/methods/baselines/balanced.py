"""The shared student with balanced gradients of the regions on the backbone: multi-task baselines."""

from __future__ import annotations

from lorkit.decompose.config import Config
from lorkit.decompose.config.training import Balancer
from lorkit.decompose.methods.base import TrainingModule
from lorkit.decompose.methods.baselines.balancers import check_balancer
from lorkit.decompose.methods.baselines.students import SharedStudent
from lorkit.decompose.models.foundation.model import Foundation
from lorkit.decompose.regions import RegionSet


class BalancedStudent(SharedStudent):
    """`mtl-...`: cross-entropy of every region on one backbone, with one gradient balancer.

    Args:
        name: Name in the configuration.
        balancer: Replaces `train.balancer`.
    """

    def __init__(self, name: str, balancer: Balancer) -> None:
        self.name, self.balancer = name, balancer

    def build(self, config: Config, regions: RegionSet, foundation: Foundation | None) -> TrainingModule:
        """Build the shared student; raise UsageError or MissingRuntimeError if the balancer cannot run."""
        check_balancer(self.balancer, config.train)
        module = super().build(config, regions, foundation)
        module.balancer = self.balancer
        return module

    def notices(self, config: Config) -> list[str]:
        """Return which setting the method replaces; check here that the balancer is installed."""
        check_balancer(self.balancer, config.train)
        stated = config.train.balancer
        if stated in ("sum", self.balancer):
            return []
        return [f"method {self.name} balances by {self.balancer}: train.balancer {stated} has no effect"]


METHODS = (
    BalancedStudent("mtl-pcgrad", "pcgrad"),
    BalancedStudent("mtl-cagrad", "cagrad"),
    BalancedStudent("mtl-aligned", "aligned-mtl"),
    BalancedStudent("mtl-upgrad", "upgrad"),
    BalancedStudent("mtl-nash", "nash-mtl"),
)
