"""Weigh the terms of a teacher by region: less where it is weaker than its student on validation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn


class TeachingShares(nn.Module):
    """The share of each region's distillation terms, which follows the validation scores of teacher and student.

    The shares are a buffer, so that checkpoints have them.

    Args:
        regions: Names of the regions, in routing order.
    """

    share_R: Tensor

    def __init__(self, regions: Sequence[str]) -> None:
        super().__init__()
        self._regions = tuple(regions)
        self._teacher: dict[str, float] = {}
        self._chance: dict[str, float] = {}
        self.register_buffer("share_R", torch.ones(len(self._regions)))

    def compare(self, teacher: Mapping[str, float], chance: Mapping[str, float]) -> None:
        """Take the validation scores of the teacher and of chance, by region."""
        self._teacher, self._chance = dict(teacher), dict(chance)

    def update(self, student: Mapping[str, float]) -> None:
        """Take the student's validation scores by region, after an epoch."""
        for index, name in enumerate(self._regions):
            self.share_R[index] = teaching_share(self._teacher[name], student[name], self._chance[name])

    def forward(self, terms: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the weighted terms of regions."""
        return {name: self.share_R[self._regions.index(name)] * value for name, value in terms.items()}


def teaching_share(teacher: float, student: float, chance: float) -> float:
    """Return the share of a distillation term: 1 for a teacher that is at least as good, 0 for one at chance."""
    if teacher >= student:
        return 1.0
    return max(0.0, teacher - chance) / (student - chance) if student > chance else 1.0
