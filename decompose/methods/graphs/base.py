"""What methods for graphs share: networks of nodes, and models that are fitted and compared without a network.

Shapes: N nodes of a part, C classes.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

from lorkit.decompose.artifacts.arrays import Float32Array
from lorkit.decompose.config import Config
from lorkit.decompose.data.prepared import PreparedRegion
from lorkit.decompose.documents.compare import Exposure
from lorkit.decompose.errors import UsageError
from lorkit.decompose.events import Listener
from lorkit.decompose.methods.base import Method, TrainingModule
from lorkit.decompose.methods.baselines.students import SharedStudent, shared_network
from lorkit.decompose.models.foundation.model import Foundation
from lorkit.decompose.models.regional import RegionalModel
from lorkit.decompose.regions import RegionSet
from lorkit.decompose.tasks import get_task, headline


def refuse_images(method: Method) -> UsageError:
    """Return the error of a method for graphs that is asked for images."""
    return UsageError(
        f"method {method.name} for images",
        required="regions that are graphs",
        fix="choose another method, such as lorkd, or name a graph as data",
    )


def score_of(part: PreparedRegion, logits: Float32Array) -> float:
    """Return the metric by which validation chooses, of (N, C) logits of a part: the average precision."""
    return headline(get_task(part.region.task).scores_by_case(part.region, part.targets, logits))


class NodeStudent(SharedStudent):
    """One network of all graphs with a head for each, trained on labels alone, without a foundation."""

    without_foundation = True
    of_graphs = True

    def network(self, config: Config, regions: RegionSet) -> RegionalModel:
        """Build the network with a head for each graph; raise UsageError for regions of images."""
        if not config.image.nodes:
            raise refuse_images(self)
        return shared_network(config, self.deployed_backbone(config), regions)


@dataclass(frozen=True, kw_only=True)
class FittedNodes:
    """A model that was fitted to the nodes of one region.

    Attributes:
        logits: Maps a part of the region to (N, C) float32 logits.
        parameters: Fitted numbers; of trees their nodes.
        macs: Multiply-accumulates of one node; of trees the most comparisons.
        size: Bytes of the fitted numbers.
        exposure: Its optimiser steps and the nodes in them; None if it has none.
    """

    logits: Callable[[PreparedRegion], Float32Array]
    parameters: int
    macs: int
    size: int
    exposure: Exposure | None = None


class FittedBaseline(Method):
    """A method that fits a model of its own to each graph: `compare` scores it, and nothing deploys it."""

    separate = True
    without_foundation = True
    of_graphs = True

    @abstractmethod
    def constants(self) -> dict[str, Any]:
        """Return the settings of the fit, as plain data: finished fits with other ones are repeated."""

    @abstractmethod
    def fit(self, config: Config, train: PreparedRegion, val: PreparedRegion, on_event: Listener) -> FittedNodes:
        """Fit the training part of a region; validation chooses when to stop, and no other part is read.

        Args:
            config: Resolved settings; the seed decides what is random.
            train: Training nodes with their labels.
            val: Validation nodes with their labels.
            on_event: Receives progress.
        """

    def network(self, config: Config, regions: RegionSet) -> RegionalModel:
        """Raise UsageError: there is no network."""
        self._refuse()

    def build(self, config: Config, regions: RegionSet, foundation: Foundation | None) -> TrainingModule:
        """Raise UsageError: there is no network."""
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise UsageError(
            f"method {self.name} to train a network",
            required="a method with a network that can be deployed",
            fix=f"compare it, as in `decompose compare --methods {self.name},ragformer`, or choose another method",
        )
