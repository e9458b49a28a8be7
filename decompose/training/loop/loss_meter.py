"""Loss terms of steps and epochs, transferred from the device once per step and checked to be finite."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lorkit.decompose.errors import DataError
from lorkit.decompose.tasks.losses import Terms

if TYPE_CHECKING:
    from lightning_fabric import Fabric


@dataclass(frozen=True, kw_only=True)
class PendingLosses:
    """One step whose losses may still be computing.

    Attributes:
        keys: (term, region) of each value.
        values: Their contributions to the loss, as one tensor for one transfer.
        counts: Samples of each present region in the batch.
    """

    epoch: int
    step: int
    keys: Sequence[tuple[str, str]]
    values: Tensor
    counts: Mapping[str, int]

    @classmethod
    def of(cls, terms: Terms, counts: Mapping[str, int], epoch: int, step: int) -> PendingLosses:
        """Collect the terms of a step without waiting for them."""
        keys = [(name, region) for name, row in terms.items() for region in row]
        values = torch.stack([terms[name][region].detach().float() for name, region in keys])
        return cls(epoch=epoch, step=step, keys=keys, values=values, counts=counts)


class LossMeter:
    """Means over the samples of each region of one epoch."""

    def __init__(self) -> None:
        self._sums: dict[tuple[str, str], float] = defaultdict(float)
        self._counts: dict[str, int] = defaultdict(int)
        self.images = 0

    def add(self, pending: PendingLosses) -> dict[str, float]:
        """Add a step and return its terms, each the mean over the batch.

        Raises:
            DataError: A term is not finite; term, region, epoch and step are named.
        """
        values = dict(zip(pending.keys, pending.values.tolist(), strict=True))
        if not bool(torch.isfinite(pending.values).all()):
            raise _not_finite(pending, values)
        batch = sum(pending.counts.values())
        terms: dict[str, float] = defaultdict(float)
        for (name, region), value in values.items():
            self._sums[name, region] += value * batch
            terms[name] += value
        for region, count in pending.counts.items():
            self._counts[region] += count
        self.images += batch
        return dict(terms)

    def means(self, fabric: Fabric) -> dict[str, dict[str, float]]:
        """Return {term: {region: mean over its samples of the epoch, on all ranks}}."""
        keys = list(self._sums)
        local = torch.tensor([[self._sums[key], self._counts[key[1]]] for key in keys], dtype=torch.float64)
        gathered = fabric.all_reduce(local.to(fabric.device), reduce_op="sum")
        assert isinstance(gathered, Tensor)
        means: dict[str, dict[str, float]] = {}
        for (name, region), (total, count) in zip(keys, gathered.tolist(), strict=True):
            means.setdefault(name, {})[region] = total / count
        return means


def _not_finite(pending: PendingLosses, values: Mapping[tuple[str, str], float]) -> DataError:
    finite = torch.isfinite(pending.values).tolist()
    bad = [f"{name} of region '{region}'" for (name, region), fine in zip(values, finite, strict=True) if not fine]
    return DataError(
        f"the loss is not finite in epoch {pending.epoch + 1}, step {pending.step + 1}: {', '.join(bad)}",
        required="finite losses",
        fix="lower train.lr, set train.clip_norm, or check the data of that region",
    )
