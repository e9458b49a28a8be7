"""What a frozen foundation gives a student to learn from: its stages as grids, and its pooled features."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class TeacherFeatures(NamedTuple):
    """A frozen network's answer to a batch, in the order of the batch.

    Attributes:
        grids: (N, C_i, *grid_i) of each stage, coarse last; empty where a method asks for pooled features alone.
        features: (N, F) pooled, or (N, F, *spatial) of a network for dense outputs.
    """

    grids: tuple[Tensor, ...]
    features: Tensor
