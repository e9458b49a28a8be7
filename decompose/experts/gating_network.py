"""The gating network of MoLA-Router: a router, and gates of the adapters from its hidden numbers.

Shapes: N samples, H hidden numbers, G groups of layers with their own gates (1: one gate per adapter for the whole
network), M adapters.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from lorkit.decompose.errors import UsageError
from lorkit.decompose.experts.routers.base import Router


class GatingOutput(NamedTuple):
    """Results of the gating network.

    Attributes:
        hidden: (N, H).
        scores: (N, G, M) logits.
        gates: (N, G, M) weights of the adapters; they sum to 1.
    """

    hidden: Tensor
    scores: Tensor
    gates: Tensor


class GatingNetwork(nn.Module):
    """A router and a linear layer to gates: softmax(scores / temperature), dense or only the largest.

    Args:
        router: From images or early features to hidden numbers.
        adapters: M.
        groups: G.
        temperature: Small values approach a choice of one adapter.
        top_k: Number of adapters with a gate above 0; None for all.
        straight_through: Whether the gates get the gradients of the softmax over all adapters, so that a choice of one,
            whose gate is constant, can be learned (Bengio et al. 2013).

    Raises:
        UsageError: More adapters are to be kept than there are.
    """

    def __init__(
        self,
        router: Router,
        adapters: int,
        *,
        groups: int = 1,
        temperature: float = 1.0,
        top_k: int | None = None,
        straight_through: bool = False,
    ) -> None:
        super().__init__()
        if top_k is not None and top_k > adapters:
            raise UsageError(
                f"mola.top_k {top_k} of {adapters} adapters",
                required="at most as many as there are adapters",
                fix="lower mola.top_k, or raise mola.adapters",
            )
        self.router = router
        self.scores = nn.Linear(router.width, groups * adapters)
        self.adapters, self.groups, self.temperature, self.top_k = adapters, groups, temperature, top_k
        self.straight_through = straight_through

    @property
    def taps(self) -> bool:
        """Whether the router reads the grid of the backbone's first stage."""
        return self.router.taps

    def forward(self, x: Tensor) -> GatingOutput:
        """Map normalised images, or grids of the first stage (N, C, *spatial), to gates."""
        hidden = self.router(x)
        scores = self.scores(hidden).unflatten(1, (self.groups, self.adapters))
        kept = scaled = scores / self.temperature
        if self.top_k is not None and self.top_k < self.adapters:
            least = kept.topk(self.top_k, dim=-1).values[..., -1:]
            kept = kept.masked_fill(kept < least, float("-inf"))
        gates = kept.softmax(-1)
        if self.straight_through and self.training:
            soft = scaled.softmax(-1)
            gates = gates.detach() + (soft - soft.detach())
        return GatingOutput(hidden, scores, gates)
