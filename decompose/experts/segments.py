"""Products of rows that are grouped by region with one matrix a region.

Shapes: P positions of the batch (rows x pixels), grouped by region; T regions; K and M channels.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lorkit.decompose.experts.site import Sizes


def multiply(x_PK: Tensor, matrix_TKM: Tensor, counts: Sizes) -> Tensor:
    """Return (P, M): each region's positions times its own matrix; one batched product where regions are equal.

    Args:
        x_PK: Positions by channels, grouped by region.
        matrix_TKM: A matrix a region.
        counts: Positions of each region, which sum to P.
    """
    if len(counts) == 1:
        return x_PK @ matrix_TKM[0]
    if _equal(counts):
        return torch.bmm(x_PK.view(len(counts), counts[0], -1), matrix_TKM).flatten(0, 1)
    return torch.cat([part @ matrix for part, matrix in zip(x_PK.split(counts), matrix_TKM, strict=True)])


def add_product(y_PM: Tensor, x_PK: Tensor, matrix_TKM: Tensor, counts: Sizes) -> Tensor:
    """Return y + `multiply(x, matrix, counts)`, in one pass over y where regions are equal."""
    if not _equal(counts):
        return y_PM + multiply(x_PK, matrix_TKM, counts)
    blocks = (len(counts), counts[0], -1)
    return torch.baddbmm(y_PM.view(blocks), x_PK.view(blocks), matrix_TKM).flatten(0, 1)


def _equal(counts: Sizes) -> bool:
    return counts.count(counts[0]) == len(counts)
