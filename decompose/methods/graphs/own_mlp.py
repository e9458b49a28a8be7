"""A perceptron on a node's own features: what is known without a graph."""

from __future__ import annotations

from lorkit.decompose.config import Config
from lorkit.decompose.methods.graphs.base import NodeStudent


class OwnMlp(NodeStudent):
    """`mlp-own`: cross-entropy of every graph on a perceptron that sees no neighbour."""

    name = "mlp-own"

    def deployed_backbone(self, config: Config) -> str:
        """Return the perceptron of own features."""
        return "node_mlp_own"


METHOD = OwnMlp()
