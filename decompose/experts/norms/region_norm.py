"""Batch norms by region, and their recalibration on a region's own data."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from lorkit.decompose.config.methods import NormPolicy
from lorkit.decompose.errors import DataError, UsageError
from lorkit.decompose.experts.algebra import transformed
from lorkit.decompose.experts.batch_routing import BatchRouting
from lorkit.decompose.experts.norms.activated_norm import joined_norm, split_norm
from lorkit.decompose.experts.norms.batched_norm import Stacks, batched_is_faster, batched_norm
from lorkit.decompose.experts.norms.segmented_norm import Statistics, segmented_norm
from lorkit.decompose.experts.routing import Routing
from lorkit.decompose.experts.strategies.base import with_contiguous_gradient
from lorkit.decompose.experts.strategies.geometry import Sizes
from lorkit.decompose.experts.strategies.packed_factors import Pack, packable

NORMS: tuple[type[nn.Module], ...] = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
# above this, copies for folding cost more than the calls that it saves (measured on two cores)
_LARGE = 2**21
_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
_STACKED = ("weight", "bias", "running_mean", "running_var")


class RegionNorm(nn.Module):
    """A batch norm with statistics, and with policy `region` an affine map, for each region.

    An extracted expert runs on single-region data, to which statistics of mixed batches do not apply; those of the
    region are the same in training and after `extract`. Register hooks on this module: the norms of the regions are not
    always called.
    """

    def __init__(self, base: _BatchNorm, policy: NormPolicy, routing: Routing, name: str = "") -> None:
        super().__init__()
        self.policy, self.routing, self.name, self.kind = policy, routing, name, type(base)
        plain, self.after = split_norm(base)
        self.regions = nn.ModuleDict({region: copy.deepcopy(plain) for region in routing.regions})
        shared = policy == "statistics" and base.affine
        # one shared affine map with per-region statistics: regional norms have none
        self.weight = _twin(base.weight) if shared else None
        self.bias = _twin(base.bias) if shared else None
        if shared:
            for norm in self.regions.values():
                norm.register_parameter("weight", None)
                norm.register_parameter("bias", None)
        self._packs: dict[str, Pack | None] = {}

    def pack_(self) -> None:
        """Make the weights, biases and statistics of all regions contiguous in memory, where every region has them."""
        self.unpack_()
        norms = cast(list[_BatchNorm], list(self.regions.values()))
        for key in ("weight", "bias", *_STATISTICS):
            values = [value for norm in norms if (value := getattr(norm, key)) is not None]
            if len(values) == len(norms) and packable(values):
                self._packs[key] = Pack(values)

    def unpack_(self) -> None:
        """Give every weight, bias and statistic its own memory again."""
        for pack in self._packs.values():
            if pack is not None:
                pack.release_()
        self._packs = {}

    def forward(self, x: Tensor) -> Tensor:
        """Normalise each region's rows with its own norm; an activation of the norm follows for all rows."""
        y = self._normalised(x)
        return y if self.after is None else cast(Tensor, self.after(y))

    def _normalised(self, x: Tensor) -> Tensor:
        routed = self.routing.current(self.name)
        if routed.gates is not None:
            return self._soft(x, routed)
        if routed.empty:
            raise UsageError(
                f"norm '{self.name}' has statistics by region and got no region",
                required="a region for every row",
                fix="route by region, or train with norm 'shared'",
            )
        rows = routed.rows(x, self.name)
        names = [self.routing.regions[t] for t in routed.regions]
        return routed.rearrange(self._hard(routed.arrange(x), names, rows, routed.equal))

    def _hard(self, x: Tensor, names: Sequence[str], rows: Sizes, equal: bool) -> Tensor:
        norms = [self._norm(name) for name in names]
        alone = x.shape[0] * x.shape[1]
        for name, norm, count in zip(names, norms, rows, strict=True):  # before any statistics change
            if count == 1 and norm.training and x.numel() == alone:
                raise DataError(
                    f"region '{name}' has one value per channel at norm '{self.name}', which has no variance",
                    required="two samples or more of each region in a training batch",
                    fix="raise train.batch_size or use balanced sampling",
                )
        alike = len({(norm.eps, norm.momentum) for norm in norms}) == 1
        plain = transformed()
        # a compiler joins parts without copies, and cannot trace writing into slices
        eager = len(rows) > 1 and alike and x.numel() > 0 and not (plain or torch.compiler.is_compiling())
        if eager and all(norm.training for norm in norms):
            if equal and self._one_type(x, norms[0]) and batched_is_faster(x, len(rows)):
                return self._batched(x, norms)
            if not (equal and self._many(x, rows)):
                return self._segmented(x, norms, rows)
        if equal and alike and not plain and self._many(x, rows):
            return self._folded(x, norms)
        parts = [self._normalise(name, part) for name, part in zip(names, torch.split(x, list(rows)), strict=True)]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _segmented(self, x: Tensor, norms: Sequence[_BatchNorm], rows: Sizes) -> Tensor:
        cast(Any, norms[0])._check_input_dim(x)
        statistics = [Statistics(norm.running_mean, norm.running_var, _advance(norm)) for norm in norms]
        return segmented_norm(x, rows, statistics, [self._affine(norm) for norm in norms], norms[0].eps)

    def _batched(self, x: Tensor, norms: Sequence[_BatchNorm]) -> Tensor:
        first, regions = norms[0], len(norms)
        cast(Any, first)._check_input_dim(x)
        shared = self.policy == "statistics"
        # without torch's attribute lookup, which takes as long as an operation on a small map
        given: dict[str, list[Any]] = {key: [norm._buffers[key] for norm in norms] for key in _STATISTICS}
        for key in ("weight", "bias"):
            given[key] = [self._parameters.get(key)] * regions if shared else [norm._parameters[key] for norm in norms]
        stacks = {key: None if values[0] is None else self._stack(key, values) for key, values in given.items()}
        shaped = [None if (one := stacks[key]) is None else one.view(regions, 1, -1) for key in _STACKED]
        affine = (*given["weight"], *given["bias"])
        y = batched_norm(x, regions, Stacks(*shaped), affine, first.momentum or 0.0, first.eps)
        if (counters := stacks["num_batches_tracked"]) is not None:
            counters.add_(1)
        for key in _STATISTICS:
            if (stack := stacks[key]) is not None and stack.data_ptr() != given[key][0].data_ptr():
                torch._foreach_copy_(given[key], list(stack.unbind()))
        return y

    def _one_type(self, x: Tensor, norm: _BatchNorm) -> bool:
        """Whether a norm's tensors are of the type of its input, and its momentum is the same in every batch."""
        given = (norm.running_mean, *self._affine(norm))
        return norm.momentum is not None and all(one is None or one.dtype == x.dtype for one in given)

    def _stack(self, key: str, values: Sequence[Tensor]) -> Tensor:
        """Return values of regions (R, ...) without derivatives: the memory of the pack, or a copy."""
        pack = self._packs.get(key)
        if pack is not None and pack.holds(values):
            return pack.buffer
        return torch.stack([value.detach() for value in values])

    def _many(self, x: Tensor, rows: Sizes) -> bool:
        """Whether one norm over regions folded into channels is faster than one per region (measured: from 16)."""
        if len(rows) < (16 if x.device.type == "cpu" else 2) or self._lone(x[: rows[0]]):
            return False
        if x.device.type == "cpu" and x.numel() > _LARGE:
            return False
        return all(norm.training and norm.momentum is not None for norm in self.regions.values())

    def _folded(self, x: Tensor, norms: Sequence[_BatchNorm]) -> Tensor:
        """Normalise T regions of equal size in one call: (T * n, C, *S) as (n * S, T * C)."""
        first, channels = norms[0], x.shape[1]
        last = with_contiguous_gradient(x.movedim(1, -1))
        folded = last.reshape(len(norms), -1, channels).transpose(0, 1).reshape(-1, len(norms) * channels)
        means, variances = ([getattr(norm, key) for norm in norms] for key in _STATISTICS[:2])
        tracked = means[0] is not None
        mean, variance = (torch.cat(means), torch.cat(variances)) if tracked else (None, None)
        affine = [self._affine(norm) for norm in norms]
        weight, bias = _joined([weight for weight, _ in affine]), _joined([bias for _, bias in affine])
        y = F.batch_norm(folded, mean, variance, weight, bias, True, first.momentum or 0.0, first.eps)
        if mean is not None and variance is not None:
            torch._foreach_copy_([*means, *variances], [*torch.split(mean, channels), *torch.split(variance, channels)])
            for norm in norms:
                _advance(norm)
        y = y.view(-1, len(norms), channels).transpose(0, 1).contiguous().view(last.shape).movedim(-1, 1)
        # the network may use `view`, as with contiguous images
        return y.contiguous() if x.is_contiguous() and not y.is_contiguous() else y

    def _affine(self, norm: _BatchNorm) -> tuple[Tensor | None, Tensor | None]:
        """Return the weight and bias for a region; a norm may have only a weight."""
        return (self.weight, self.bias) if self.policy == "statistics" else (norm.weight, norm.bias)

    def plain(self, region: str) -> nn.Module:
        """Return the region's norm as a plain one of the original class, with an affine map."""
        norm = copy.deepcopy(self._norm(region))
        for key, value in norm._buffers.items():
            norm._buffers[key] = None if value is None else value.clone()  # without the memory of the pack
        for key, value in zip(("weight", "bias"), self._affine(norm), strict=True):
            norm.register_parameter(key, _twin(value))
        return joined_norm(norm, self.after, self.kind)

    def _norm(self, region: str) -> _BatchNorm:
        norm = self.regions._modules.get(region)  # without torch's attribute lookup, once per region and norm
        if norm is None:
            self.routing.index(region)  # raises with the known ones
        if type(norm) not in NORMS:
            raise UsageError(
                f"norm '{self.name}' by region was made a {type(norm).__name__}, whose own forward would not run",
                required="exactly BatchNorm1d, BatchNorm2d or BatchNorm3d",
                fix="convert or parametrize norms of an extracted network, or use norm 'shared'",
            )
        return cast(_BatchNorm, norm)

    def _normalise(self, region: str, x: Tensor) -> Tensor:
        norm = self._norm(region)
        if self.weight is None and self.bias is None:
            return cast(Tensor, norm(x))
        current = norm.training or norm.running_mean is None
        factor = _advance(norm) if norm.training else 0.0
        return F.batch_norm(x, norm.running_mean, norm.running_var, self.weight, self.bias, current, factor, norm.eps)

    @staticmethod
    def _lone(x: Tensor) -> bool:
        return x.numel() == x.shape[1]

    def _soft(self, x: Tensor, routed: BatchRouting) -> Tensor:
        """Mix the norms of the regions by the gates; training is refused, since rows then have no single region."""
        if self.training:
            raise UsageError(
                f"norm '{self.name}' has statistics by region and got soft gates in training",
                required="norm 'shared' under soft routing",
                fix="set the norm policy to 'shared'",
            )
        gates = routed.gates_for(x, self.name).to(x.dtype)
        parts = [
            self._normalise(region, x) * gates[:, t].view(-1, *(1,) * (x.dim() - 1))
            for t, region in enumerate(self.routing.regions)
        ]
        return torch.stack(parts).sum(0)


def recalibrate_norm_(model: nn.Module, batches: Iterable[Any]) -> int:
    """Replace the running statistics of a plain network's batch norms by those of images, in place.

    Statistics are cumulative averages over the batches (momentum None), so their order does not matter.

    Args:
        model: A plain network, as from `extract`.
        batches: Images (N, C, *spatial), or tuples that start with them.

    Returns:
        The number of norms recalibrated (0: the network has none with running statistics).

    Raises:
        UsageError: The model has norms by region.
        DataError: There is no batch.
    """
    if any(isinstance(module, RegionNorm) for module in model.modules()):
        raise UsageError(
            "a model with experts", required="an extracted network", fix="recalibrate what `extract` returns"
        )
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


def _twin(parameter: Tensor | None) -> nn.Parameter | None:
    return None if parameter is None else nn.Parameter(parameter.detach().clone(), parameter.requires_grad)


def _joined(parameters: Sequence[Tensor | None]) -> Tensor | None:
    given = [parameter for parameter in parameters if parameter is not None]
    return torch.cat(given) if given else None


def _advance(norm: _BatchNorm) -> float:
    """Count a batch, and return the weight of its statistics in the running ones."""
    if norm.num_batches_tracked is not None:
        norm.num_batches_tracked.add_(1)
        if norm.momentum is None:
            return 1.0 / float(norm.num_batches_tracked)
    return norm.momentum or 0.0
