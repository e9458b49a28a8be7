"""Layers with experts: a shared base, and for each region low-rank factors or a full small kernel.

A wrapper without a `.weight` property by design: code that reads the weight of a child instead of calling it (such as
torch's fused attention) then fails instead of ignoring the expert.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from lorkit.decompose.config import ExpertConfig
from lorkit.decompose.errors import DataError, UsageError
from lorkit.decompose.experts import algebra
from lorkit.decompose.experts.algebra import TRANSPOSED, Base
from lorkit.decompose.experts.batch_routing import BatchRouting
from lorkit.decompose.experts.routing import Routing
from lorkit.decompose.experts.strategies import LayerInputs, StrategySelector
from lorkit.decompose.experts.strategies.geometry import LayerGeometry, Sizes
from lorkit.decompose.experts.strategies.merged import weight_updates
from lorkit.decompose.experts.strategies.packed_factors import Pack, packable


class ExpertLayer(nn.Module):
    """Base class of expert layers: the base layer, the routing, and fusing."""

    def __init__(self, base: Base, config: ExpertConfig, routing: Routing, name: str = "") -> None:
        super().__init__()
        algebra.require_exact(base, name)
        self.base = base
        self.config = config
        self.routing = routing
        self.name = name
        self.fused: str | None = None
        self._kept: Tensor | None = None

    def delta_weight(self, region: str) -> Tensor:
        """Return the scaled update of a region, in the shape of the base weight; differentiable."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """Run the base with the expert of each row; rows are (L, ...) as in `BatchRouting.split`."""
        algebra.require_exact(self.base, self.name)
        if self.fused is not None:
            self._check_fused(self.fused)
            return cast(Tensor, self.base(x))
        routed = self.routing.current(self.name)
        if routed.empty or not self.routing.experts_on or not x.shape[0]:
            return cast(Tensor, self.base(x))
        if routed.gates is not None:
            return self._soft(x, routed.gates_for(x, self.name))
        return routed.rearrange(self._hard(routed.arrange(x), routed))

    def merged_weight(self, region: str) -> Tensor:
        """Return the base weight plus the region's update, detached, computed in float32 or wider."""
        algebra.require_exact(self.base, self.name)
        base = self.base.weight if self._kept is None else self._kept
        with torch.no_grad(), torch.autocast(base.device.type, enabled=False):
            wide = torch.promote_types(base.dtype, torch.float32)
            merged = base.to(wide) + self.delta_weight(region).to(base.device, wide)
        return merged.to(base.dtype)

    def plain(self, region: str) -> nn.Module:
        """Return an equivalent plain layer for a region, of the base's class."""
        memo = {id(self.base.weight): nn.Parameter(self.merged_weight(region), self.base.weight.requires_grad)}
        return copy.deepcopy(self.base, cast(dict[int, Any], memo))

    def fuse_(self, region: str) -> None:
        """Replace the base weight by the merged weight of a region; the base weight is kept for `unfuse_`."""
        merged = self.merged_weight(region)
        if self._kept is None:
            self._kept = self.base.weight.detach().clone()
        with torch.no_grad():
            self.base.weight.copy_(merged)
        self.fused = region

    def unfuse_(self) -> None:
        """Restore the base weight, bit by bit."""
        if self._kept is not None:
            with torch.no_grad():
                self.base.weight.copy_(self._kept)
        self.fused, self._kept = None, None

    def _hard(self, x: Tensor, routed: BatchRouting) -> Tensor:
        raise NotImplementedError

    def _present(self, routed: BatchRouting) -> list[str]:
        return [self.routing.regions[t] for t in routed.regions]

    def _soft(self, x: Tensor, gates: Tensor) -> Tensor:
        """Add each region's update times its gate: equal to gated weights per sample, with less memory."""
        raise NotImplementedError

    def _add_gated(self, x: Tensor, y: Tensor, updates: Sequence[Tensor], gates: Tensor) -> Tensor:
        for t, weight in enumerate(updates):
            update = algebra.apply(self.base, x, weight)
            y = y + update * algebra.spread(self.base, update, gates[:, t : t + 1])
        return y

    def _check_fused(self, region: str) -> None:
        if self.training and torch.is_grad_enabled():
            raise UsageError(
                f"layer '{self.name}' is fused with region '{region}' and in training mode",
                required="an unmerged model for training",
                fix="call unfuse_(model) first",
            )
        routed = self.routing.current(self.name)
        if routed.regions != (self.routing.index(region),) or not self.routing.experts_on:
            raise UsageError(
                f"layer '{self.name}' is fused with region '{region}', the batch has other regions",
                required=f"rows of region '{region}' only",
                fix="call unfuse_(model), or fuse_ it with the region of the batch",
            )

    def _refuse_fused(self, verb: str) -> None:
        if self.fused is not None:
            raise UsageError(
                f"layer '{self.name}' is fused with region '{self.fused}', so its base is not the shared one",
                required=f"an unmerged model to {verb}",
                fix="call unfuse_(model) first",
            )

    def _save_to_state_dict(self, *args: Any, **kwargs: Any) -> None:
        self._refuse_fused("save")
        super()._save_to_state_dict(*args, **kwargs)

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        self._refuse_fused("load")
        super()._load_from_state_dict(*args, **kwargs)


class LowRankExperts(ExpertLayer):
    """Low-rank experts around one dense layer (LoRKD's low-rank expert module).

    Computes base(x) + s_t * update_t(x) with the region t of each row and s_t = alpha / rank_t. The factors of region t
    get gradients only from its rows, the base from all (efficient knowledge separation). Parameters are `down.<region>`
    and `up.<region>`, so ranks can differ.

    A base with hooks is called with rows grouped by region, and its output does not include the update, for every
    strategy; hooks that change it affect only a live model. Without hooks, the weight of the base may be used directly.
    """

    def __init__(self, base: Base, config: ExpertConfig, routing: Routing, name: str = "") -> None:
        super().__init__(base, config, routing, name)
        pairs = {region: algebra.factors(base, config.rank_of(region), config.layout) for region in routing.regions}
        self.down = nn.ParameterDict({region: down for region, (down, _) in pairs.items()})
        self.up = nn.ParameterDict({region: up for region, (_, up) in pairs.items()})
        widest = max(config.rank_of(region) for region in routing.regions)
        self.selector = StrategySelector(LayerGeometry.of(base, config.layout, widest), config.strategy_of(name), name)
        self._packs: tuple[Pack | None, Pack | None] = (None, None)
        self._scales = {region: config.scale_of(region) for region in routing.regions}

    def pack_(self) -> bool:
        """Make the factors of all regions contiguous in memory; return whether that is possible (see `packed_factors`).

        Values, names and identities of the parameters do not change. Moving the layer or `unpack_` undoes it.
        """
        self.unpack_()
        downs, ups = ([factors[region] for region in self.routing.regions] for factors in (self.down, self.up))
        if packable(downs) and packable(ups):
            self._packs = Pack(downs), Pack(ups)
            return True
        return False

    def unpack_(self) -> None:
        """Give every factor its own memory again."""
        for pack in self._packs:
            if pack is not None:
                pack.release_()
        self._packs = (None, None)

    def delta_weight(self, region: str) -> Tensor:
        """Return s * (up o down) of a region, in the shape of the base weight; differentiable."""
        self.routing.index(region)
        update = algebra.delta(self.base, self.down[region], self.up[region], self.config.layout)
        return update * self.config.scale_of(region)

    def _hard(self, x: Tensor, routed: BatchRouting) -> Tensor:
        rows = routed.rows(x, self.name)
        shape, regions = tuple(x.shape), len(routed.regions)
        if self.selector.geometry.kernel and x.dim() != len(self.selector.geometry.kernel) + 2:
            raise DataError(
                f"layer '{self.name}' got an input of shape {shape}",
                required=f"a batch of {len(self.selector.geometry.kernel)}D images (N, C, ...)",
                fix="add the axis of the batch",
            )
        strategy = self.selector.strategy(shape, regions, routed.equal, x.device.type, routed.threads)
        return strategy.run(self._inputs(self._present(routed), rows, routed.equal), x)

    def _soft(self, x: Tensor, gates: Tensor) -> Tensor:
        # by linearity, gating the r channels between the factors equals gated weights per sample, without building them
        regions, base = self.routing.regions, self.base
        inputs = self._inputs(regions, (0,) * len(regions))
        gates = gates.to(torch.promote_types(gates.dtype, base.weight.dtype))
        y = cast(Tensor, base(x))
        if self.config.layout == "reshape":  # T full-size updates: this layout has no cheaper form
            return self._add_gated(x, y, weight_updates(inputs).unbind(), gates)
        down, up = torch.cat(list(inputs.downs)), torch.cat(list(inputs.ups), 0 if type(base) in TRANSPOSED else 1)
        ranks = torch.tensor([len(one) for one in inputs.downs], device=gates.device)
        scales, total = gates * gates.new_tensor(inputs.scales), sum(len(one) for one in inputs.downs)
        return y + algebra.low_rank(base, x, down, up, scales.repeat_interleave(ranks, 1, output_size=total))

    def _inputs(self, regions: Sequence[str], rows: Sizes, equal: bool = True) -> LayerInputs:
        packed_downs, packed_ups = self._packs
        return LayerInputs(
            geometry=self.selector.geometry,
            base=self.base,
            downs=_factors_of(self.down, regions),
            ups=_factors_of(self.up, regions),
            scales=[self._scales[region] for region in regions],
            rows=rows,
            equal=equal,
            packed_downs=packed_downs,
            packed_ups=packed_ups,
        )


def _factors_of(factors: nn.ParameterDict, regions: Sequence[str]) -> list[Tensor]:
    own = factors._parameters  # without torch's attribute lookup, once per region
    # replicas of DataParallel, and pruned or parametrized factors, are attributes only
    return [factors[region] if (value := own.get(region)) is None else value for region in regions]


class DepthwiseExperts(ExpertLayer):
    """Full updates per region for a grouped or depthwise convolution, whose weight is small.

    A base with hooks is called, as for `LowRankExperts`.
    """

    def __init__(self, base: Base, config: ExpertConfig, routing: Routing, name: str = "") -> None:
        super().__init__(base, config, routing, name)
        self.kernel = nn.ParameterDict({region: torch.zeros_like(base.weight) for region in routing.regions})

    def delta_weight(self, region: str) -> Tensor:
        """Return the update of a region, in the shape of the base weight; differentiable."""
        self.routing.index(region)
        return cast(Tensor, self.kernel[region])

    def _hard(self, x: Tensor, routed: BatchRouting) -> Tensor:
        parts = torch.split(x, list(routed.rows(x, self.name)))
        updates = [self.delta_weight(region) for region in self._present(routed)]
        pairs = list(zip(parts, updates, strict=True))
        if algebra.hooked(self.base):
            y = cast(Tensor, self.base(x))
            return y + torch.cat([algebra.apply(self.base, part, update) for part, update in pairs])
        weight, bias = self.base.weight, self.base.bias
        outputs = [algebra.apply(self.base, part, weight + update, bias) for part, update in pairs]
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs)

    def _soft(self, x: Tensor, gates: Tensor) -> Tensor:
        updates = [self.delta_weight(region) for region in self.routing.regions]
        return self._add_gated(x, cast(Tensor, self.base(x)), updates, gates)
