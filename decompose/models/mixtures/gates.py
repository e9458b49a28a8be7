"""The gates of a batch, which a network sets before its gated layers run.

Shapes: N samples of a batch, M adapters, L = k*N rows of a layer's input (k windows per sample, batch outermost).
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from torch import Tensor

from lorkit.decompose.errors import UsageError


class Gates:
    """What each sample takes of M adapters: one of them, or a mixture whose weights sum to 1.

    Layers hold the same object, and read tables with one entry per adapter through it.

    Args:
        alone: Whether there is a single adapter, which all samples have: tables have one entry, and nothing is set.
    """

    def __init__(self, *, alone: bool = False) -> None:
        self.alone = alone
        self._index_N: Tensor | None = None
        self._weight_NM: Tensor | None = None
        self._mixed: dict[Hashable, Tensor] = {}

    def __deepcopy__(self, memo: dict[int, Any]) -> Gates:
        """Copy without a batch."""
        copy = Gates(alone=self.alone)
        memo[id(self)] = copy
        return copy

    def pick(self, index_N: Tensor) -> None:
        """Set one adapter per sample, int64."""
        self._index_N, self._weight_NM, self._mixed = index_N, None, {}

    def weigh(self, weight_NM: Tensor) -> None:
        """Set the weights of each sample's adapters, which sum to 1."""
        self._index_N, self._weight_NM, self._mixed = None, weight_NM, {}

    def rows(self, table: Tensor, x: Tensor, key: Hashable = None) -> Tensor:
        """Return the entries (L, ...) of a table for the rows of `x` (L, ...); (1, ...) of a single adapter."""
        return table if self.alone else by_row(self.mix(table, key), x)

    def mix(self, table: Tensor, key: Hashable = None) -> Tensor:
        """Return the entry of each sample, (N, ...), of a table (M, ...): its adapter's, or their weighted mean.

        Args:
            table: One entry per adapter.
            key: Layers whose tables are equal give the same key, so that the batch's entries are computed once.
        """
        if key is not None and key in self._mixed:
            return self._mixed[key]
        if self._index_N is not None:
            mixed = table.index_select(0, self._index_N)
        elif self._weight_NM is not None:
            mixed = (self._weight_NM @ table.flatten(1)).view(-1, *table.shape[1:])
        else:
            raise UsageError("a gated layer ran without gates", required="gates of the batch", fix="call the network")
        if key is not None:
            self._mixed[key] = mixed
        return mixed


def by_row(mixed: Tensor, x: Tensor) -> Tensor:
    """Return entries (L, ...) for the rows of `x` (L, ...), given those of the N samples."""
    rows, samples = x.shape[0], mixed.shape[0]
    return mixed if rows == samples else mixed.repeat_interleave(rows // samples, 0)
