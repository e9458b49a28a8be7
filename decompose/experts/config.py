"""The configuration of experts: rank, scale, factor layout and norm policy."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from lorkit.decompose.errors import UsageError, unknown

FactorLayout = Literal["conv", "reshape"]
NormPolicy = Literal["shared", "statistics", "region"]


@dataclass(frozen=True, kw_only=True)
class ExpertConfig:
    """How `add_experts_` adapts a network.

    Attributes:
        rank: Rank of the factors of regions that are not in `ranks`.
        ranks: Rank by region; regions with much data may need more.
        alpha: The update is scaled by alpha / rank, so its size does not depend on the rank.
        layout: `conv` is a k x k convolution to `rank` channels followed by a 1 x 1 one (two small convolutions added
            to the shared one). `reshape` is the papers' (O*k, r*k) @ (r*k, I*k) product viewed as a kernel (rank up to
            r*k^2; needs merged weights; for the authors' checkpoints).
        norm: Batch norms: `shared` for all regions, `statistics` with running statistics per region and a shared affine
            map, or `region` for one norm per region.
        depthwise: Give grouped convolutions a full update per region; the papers leave them shared.
        strategy: How every layer computes: `auto` uses the cost model at each input shape.
        strategies: Strategy by layer name or pattern such as `layer1.*`; the first match counts.
    """

    rank: int = 8
    ranks: Mapping[str, int] = field(default_factory=dict)
    alpha: float = 16.0
    layout: FactorLayout = "conv"
    norm: NormPolicy = "region"
    depthwise: bool = False
    strategy: str = "auto"
    strategies: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, rank in (("rank", self.rank), *((f"ranks.{name}", rank) for name, rank in self.ranks.items())):
            if rank < 1:
                raise UsageError(f"{name} = {rank}", required="a rank of at least 1", fix="correct the expert config")
        if self.alpha <= 0:
            raise UsageError(f"alpha = {self.alpha}", required="a scale above 0", fix="correct the expert config")
        for key, value, known in (
            ("layout", self.layout, ("conv", "reshape")),
            ("norm", self.norm, ("shared", "statistics", "region")),
        ):
            if value not in known:
                raise unknown(key, str(value), known)

    def rank_of(self, region: str) -> int:
        """Return the rank of a region's factors."""
        return self.ranks.get(region, self.rank)

    def scale_of(self, region: str) -> float:
        """Return alpha / rank of a region."""
        return self.alpha / self.rank_of(region)

    def strategy_of(self, layer: str) -> str:
        """Return the configured strategy of a layer."""
        return next((name for key, name in self.strategies.items() if fnmatch.fnmatchcase(layer, key)), self.strategy)

    def check_regions(self, regions: Iterable[str]) -> None:
        """Raise UsageError if `ranks` has an unknown region."""
        known = tuple(regions)
        for name in self.ranks:
            if name not in known:
                raise unknown("region", name, known)
