"""Batch norms by region, and their recalibration on a region's own data."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from lorkit.decompose.errors import DataError, UsageError
from lorkit.decompose.experts.config import NormPolicy
from lorkit.decompose.experts.routing import Plan, Routing

NORMS: tuple[type[nn.Module], ...] = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


class RegionNorm(nn.Module):
    """A batch norm whose statistics, and with policy `region` affine map too, belong to the region of each row.

    Mixed-batch statistics are used on single-region data once an expert is extracted; with per-region ones the
    extracted network sees what training saw. A region's norm takes the shared one's place in `extract`.
    """

    def __init__(self, base: _BatchNorm, policy: NormPolicy, routing: Routing, name: str = "") -> None:
        super().__init__()
        self.policy, self.routing, self.name = policy, routing, name
        self.regions = nn.ModuleDict({region: copy.deepcopy(base) for region in routing.regions})
        shared = policy == "statistics" and base.affine
        # one affine map under per-region statistics: the regional norms keep none of their own
        self.weight = nn.Parameter(base.weight.detach().clone()) if shared else None
        self.bias = nn.Parameter(base.bias.detach().clone()) if shared else None
        if shared:
            for norm in self.regions.values():
                norm.register_parameter("weight", None)
                norm.register_parameter("bias", None)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise each region's rows with its own norm."""
        plan = self.routing.plan(self.name)
        if plan.gates is not None:
            return self._soft(x, plan)
        if plan.empty:
            raise UsageError(
                f"norm '{self.name}' has statistics by region and was given none",
                required="a region for every row",
                fix="route by region, or train with norm 'shared'",
            )
        return plan.join([self._normalise(self.routing.regions[t], rows) for t, rows in plan.split(x, self.name)])

    def plain(self, region: str) -> nn.Module:
        """Return the region's norm as a plain batch norm with an affine map."""
        norm = copy.deepcopy(self._norm(region))
        if self.weight is not None and self.bias is not None:
            norm.weight = nn.Parameter(self.weight.detach().clone(), self.weight.requires_grad)
            norm.bias = nn.Parameter(self.bias.detach().clone(), self.bias.requires_grad)
        return norm

    def _norm(self, region: str) -> _BatchNorm:
        self.routing.index(region)
        return cast(_BatchNorm, self.regions[region])

    def _normalise(self, region: str, x: Tensor) -> Tensor:
        norm = self._norm(region)
        if self.training and x.numel() == x.shape[1]:
            raise DataError(
                f"region '{region}' has one value a channel at norm '{self.name}', which has no variance",
                required="two samples or more of each region in a training batch",
                fix="raise train.batch_size or use balanced sampling",
            )
        y = cast(Tensor, norm(x))
        if self.weight is None or self.bias is None:
            return y
        return torch.addcmul(_channels(self.bias, y), y, _channels(self.weight, y))

    def _soft(self, x: Tensor, plan: Plan) -> Tensor:
        """Mix the regions' norms under the gates; in training no row belongs to one region's statistics."""
        if self.training:
            raise UsageError(
                f"norm '{self.name}' has statistics by region and got soft gates in training",
                required="norm 'shared' under soft routing",
                fix="set the norm policy to 'shared'",
            )
        gates = plan.gates_for(x, self.name)
        parts = [
            self._normalise(region, x) * gates[:, t].view(-1, *(1,) * (x.dim() - 1))
            for t, region in enumerate(self.routing.regions)
        ]
        return torch.stack(parts).sum(0)


def recalibrate_norm_(model: nn.Module, batches: Iterable[Any]) -> int:
    """Replace the running statistics of a plain network's batch norms by those of the given images, in place.

    The statistics are cumulative averages over the batches (momentum None), so their order has no weight.

    Args:
        model: A plain network, as `extract` returns it.
        batches: Images (N, C, *spatial) as the network takes them, or tuples that start with them.

    Returns:
        The number of norms recalibrated (0: the network has none that track statistics).

    Raises:
        UsageError: The model still has norms by region.
        DataError: There is no batch.
    """
    if any(isinstance(module, RegionNorm) for module in model.modules()):
        raise UsageError("a live model", required="an extracted network", fix="recalibrate what `extract` returns")
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm) and module.track_running_stats]
    before = [(norm.momentum, norm.training) for norm in norms]
    saved = [{key: getattr(norm, key).clone() for key in _STATISTICS} for norm in norms]
    training, seen = model.training, 0
    model.eval()
    try:
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # torch's cumulative average
            norm.train()
        with torch.no_grad():
            for batch in batches:
                model(batch[0] if isinstance(batch, tuple | list) else batch)
                seen += 1
        if not seen:
            raise DataError("no batch", required="images of the region", fix="recalibrate on its training split")
    except BaseException:
        for norm, values in zip(norms, saved, strict=True):
            for key, value in values.items():
                getattr(norm, key).copy_(value)
        raise
    finally:
        model.train(training)
        for norm, (momentum, mode) in zip(norms, before, strict=True):
            norm.momentum = momentum
            norm.train(mode)
    return len(norms)


def _channels(values: Tensor, like: Tensor) -> Tensor:
    return values.to(like.dtype).view(1, -1, *(1,) * (like.dim() - 2))
