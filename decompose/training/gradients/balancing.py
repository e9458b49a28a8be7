"""From losses by region to gradients, by their sum or by a gradient balancer of torchjd.

Shapes: T regions of a batch, P shared parameters. A balancer combines the rows of the Jacobian (T, P) of the regions'
losses with respect to the shared parameters (the backbone's weights and shared norms) to one direction. Parameters of
one region (factors, norms by region, heads) get the gradient of its own loss, others (a projector) that of the sum.
"""

from __future__ import annotations

import math
import warnings
from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, nn

from lorkit.decompose.errors import DataError
from lorkit.decompose.methods.base import TrainingModule
from lorkit.decompose.tasks.losses import Terms, total

if TYPE_CHECKING:
    from lightning_fabric import Fabric

# these average the rows: times T, rows without conflict give the gradient of `sum`
_OF_THE_MEAN = ("cagrad", "aligned-mtl", "upgrad")
# its solution does not depend on the size of the rows (Navon et al., 2022), and torchjd limits the norm to 1
_OF_NO_SIZE = ("nash-mtl",)
_CAGRAD_RADIUS = 0.4  # c of the paper's experiments (Liu et al., 2021)
# Increment when a balancer would give other gradients.
_REVISION = 2


class Backward(Protocol):
    """How the losses of a step become gradients."""

    def add(self, terms: Terms, extra: Tensor | None = None) -> None:
        """Run backward for one micro-batch, inside its routing scope; `extra` is a loss of no region."""
        ...

    def finish(self) -> None:
        """Store the gradients of all micro-batches in `.grad`."""
        ...

    def state(self) -> dict[str, list[float]]:
        """Return the state for a resume, as plain data."""
        ...

    def restore(self, state: dict[str, list[float]]) -> None:
        """Restore a saved state."""
        ...


class SumBackward:
    """The gradient of the sum of all terms of all regions."""

    def __init__(self, fabric: Fabric) -> None:
        self._fabric = fabric

    def add(self, terms: Terms, extra: Tensor | None = None) -> None:
        """Run one backward."""
        loss = total(terms)
        self._fabric.backward(loss if extra is None else loss + extra)

    def finish(self) -> None:
        """Do nothing: torch accumulates."""

    def state(self) -> dict[str, list[float]]:
        """Return an empty state."""
        return {}

    def restore(self, state: dict[str, list[float]]) -> None:
        """Ignore the state."""


class BalancedBackward:
    """One backward pass per region, then an aggregator over the rows of the shared parameters.

    It stores T gradients of the shared parameters besides the usual one. A batch with one region has its plain
    gradient.
    """

    def __init__(self, fabric: Fabric, name: str, shared: Sequence[nn.Parameter]) -> None:
        self._fabric, self._name, self._shared = fabric, name, list(shared)
        self._rows: dict[str, list[Tensor | None]] = {}
        # by regions present: Nash-MTL stores one weight per row
        self._aggregators: dict[tuple[str, ...], Any] = {}
        self._memory: dict[tuple[str, ...], list[float]] = {}

    def add(self, terms: Terms, extra: Tensor | None = None) -> None:
        """Run one backward pass per region and store the rows of the shared parameters."""
        losses: dict[str, list[Tensor]] = defaultdict(list)
        for row in terms.values():
            for region, value in row.items():
                losses[region].append(value)
        for index, (region, values) in enumerate(losses.items()):
            loss = torch.stack(values).sum()
            if extra is not None and index == 0:
                loss = loss + extra
            self._fabric.backward(loss, retain_graph=index + 1 < len(losses))
            self._set_aside(region)

    def finish(self) -> None:
        """Aggregate the rows into `.grad`; raise DataError if a region's gradient is not finite."""
        names = tuple(self._rows)
        rows = [self._rows.pop(name) for name in names]
        if len(rows) == 1:
            for parameter, gradient in zip(self._shared, rows[0], strict=True):
                parameter.grad = gradient
            return
        size = _size(names, rows)
        for index, parameter in enumerate(self._shared):
            values = [row[index] for row in rows]
            zero = torch.zeros_like(parameter) if any(value is None for value in values) else None
            stacked = torch.stack([zero if value is None else value for value in values])  # type: ignore[misc]
            parameter.jac = stacked.div_(size or 1.0)  # type: ignore[attr-defined]
        if size:
            self._aggregate(names)
        own = 1.0 if self._name in _OF_NO_SIZE else size
        self._scale_back((own if size else 0.0) * (len(names) if self._name in _OF_THE_MEAN else 1))

    def _scale_back(self, factor: float) -> None:
        """Scale gradients to the size of their rows; rows of zeros stay zero."""
        for parameter in self._shared:
            if factor:
                assert parameter.grad is not None
                parameter.grad.mul_(factor)
            else:
                del parameter.jac  # type: ignore[attr-defined]
                parameter.grad = torch.zeros_like(parameter)

    def state(self) -> dict[str, list[float]]:
        """Return the weights from which Nash-MTL starts its next solution, by regions present."""
        if self._name != "nash-mtl":
            return {}
        found = {key: one.weighting.prvs_alpha.tolist() for key, one in self._aggregators.items()}
        return {"|".join(key): values for key, values in {**self._memory, **found}.items()}

    def restore(self, state: dict[str, list[float]]) -> None:
        """Restore these weights."""
        self._aggregators.clear()
        self._memory = {tuple(key.split("|")): list(values) for key, values in state.items()}

    def _set_aside(self, region: str) -> None:
        before = self._rows.get(region, [None] * len(self._shared))
        row = []
        for parameter, earlier in zip(self._shared, before, strict=True):
            gradient, parameter.grad = parameter.grad, None
            row.append(gradient if earlier is None else earlier if gradient is None else earlier.add_(gradient))
        self._rows[region] = row

    def _aggregate(self, names: tuple[str, ...]) -> None:
        """Aggregate normalised rows, because thresholds in the aggregators are absolute."""
        from torchjd.aggregation import GramianWeightedAggregator
        from torchjd.autojac import jac_to_grad

        if names not in self._aggregators:
            self._aggregators[names] = aggregator_of(self._name, len(names))
            if names in self._memory:
                import numpy as np

                self._aggregators[names].weighting.prvs_alpha = np.array(self._memory[names])
        aggregator = self._aggregators[names]
        lean = {"optimize_gramian_computation": True} if isinstance(aggregator, GramianWeightedAggregator) else {}
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*not DPP.*")  # of Nash-MTL's program: slower, not wrong
            jac_to_grad(self._shared, aggregator, **lean)


def aggregator_of(name: str, regions: int) -> Any:
    """Return torchjd's aggregator of a balancer, for Jacobians of `regions` rows."""
    from torchjd.aggregation import UPGrad, AlignedMTL, CAGrad, NashMTL, PCGrad  # isort: skip

    if name == "cagrad":
        return CAGrad(c=_CAGRAD_RADIUS)
    if name == "nash-mtl":
        return NashMTL(n_tasks=regions)
    return {"pcgrad": PCGrad, "aligned-mtl": AlignedMTL, "upgrad": UPGrad}[name]()


def balancer_settings(name: str) -> dict[str, str | float]:
    """Return the constants that determine the gradients of a balancer; empty for the sum."""
    if name == "sum":
        return {}
    own = {"radius": _CAGRAD_RADIUS} if name == "cagrad" else {}
    return {"name": name, "revision": _REVISION, **own}


def build_backward(module: TrainingModule, fabric: Fabric) -> Backward:
    """Return the implementation for a module's balancer; without trainable shared weights there is no conflict."""
    shared = shared_parameters(module)
    if module.balancer == "sum" or len(module.live.regions.names) == 1 or not shared:
        return SumBackward(fabric)
    return BalancedBackward(fabric, module.balancer, shared)


def shared_parameters(module: TrainingModule) -> list[nn.Parameter]:
    """Return the trainable parameters of the backbone that no single region owns."""
    owned = {id(value) for values in module.region_parameters().values() for value in values}
    backbone = module.live.backbone.parameters()
    return [value for value in backbone if value.requires_grad and id(value) not in owned]


def _size(names: tuple[str, ...], rows: Sequence[Sequence[Tensor | None]]) -> float:
    """Return the norm of the Jacobian; refuse one that is not finite."""
    found = [[value for value in row if value is not None] for row in rows]
    sizes = torch.stack([torch.stack(torch._foreach_norm(values)).norm() for values in found]).tolist()
    bad = [name for name, size in zip(names, sizes, strict=True) if not math.isfinite(size)]
    if bad:
        raise DataError(
            f"the gradient of region {', '.join(bad)} is not finite",
            required="finite gradients",
            fix="lower train.lr, set train.clip_norm, or check the data of that region",
        )
    return math.hypot(*sizes)
