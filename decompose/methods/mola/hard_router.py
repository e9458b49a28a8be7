"""A hard router: that of MoLA-Router, but each image gets one adapter alone.

The gate of the largest score is 1 and all others are 0, in training and in the deployed network. In backward, the gates
have the gradients of the softmax over all adapters (straight-through), else no loss of a task would train the router.
"""

from __future__ import annotations

from lorkit.decompose.config import Config
from lorkit.decompose.methods.mola.router import MolaRouter


class HardRouter(MolaRouter):
    """`hard-router`: a router picks one adapter for every image, or one for each stage."""

    name = "hard-router"
    hard = True

    def notices(self, config: Config) -> list[str]:
        """Return the notices of the base class, and one for a number of gates that has no effect."""
        found = super().notices(config)
        if config.mola.top_k not in (None, 1):
            found.append(f"mola.top_k {config.mola.top_k} has no effect on method {self.name}, which keeps one gate")
        return found


METHOD = HardRouter()
