"""Batch norms with too few values per region and batch stay shared."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lorkit.decompose.config import ExpertConfig
from lorkit.decompose.experts import add_experts_
from lorkit.decompose.experts.norms.region_norm import RegionNorm
from lorkit.decompose.experts.shared_norms import scarce_norms


def network() -> nn.Sequential:
    """Norms on grids of 8x8, 4x4 and 1x1 positions, and after pooling."""
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4),
        nn.Conv2d(4, 4, 2, stride=2), nn.BatchNorm2d(4),
        nn.Conv2d(4, 4, 4), nn.BatchNorm2d(4),
        nn.Flatten(), nn.Linear(4, 4), nn.BatchNorm1d(4),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("samples", "scarce"),
    [(2, {"5": 2, "8": 2}), (15, {"5": 15, "8": 15}), (16, {}), (1, {"5": 1, "8": 1})],
)
def test_values_are_samples_times_positions(samples: int, scarce: dict[str, int]) -> None:
    assert scarce_norms(network(), (1, 8, 8), samples) == scarce


def test_positions_follow_the_image() -> None:
    whole = nn.Sequential(nn.Conv2d(1, 2, 3, stride=2, padding=1), nn.BatchNorm2d(2))
    assert scarce_norms(whole, (1, 4, 4), 3) == {"1": 12}
    assert scarce_norms(whole, (1, 8, 8), 1) == {}
    volume = nn.Sequential(nn.Conv3d(1, 2, 1), nn.BatchNorm3d(2))
    assert scarce_norms(volume, (1, 2, 2, 2), 2) == {}
    assert scarce_norms(volume, (1, 1, 2, 2), 3) == {"1": 12}


def test_a_norm_that_is_called_twice_counts_its_smaller_grid() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm2d(1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.norm(nn.functional.max_pool2d(self.norm(x), 8))

    assert scarce_norms(Twice(), (1, 8, 8), 4) == {"norm": 4}


def test_named_norms_stay_shared_and_are_listed_with_the_reason() -> None:
    model = network()
    routing = add_experts_(model, ("a", "b"), ExpertConfig(rank=2, shared_norms=("5", "8")))
    assert [isinstance(model[index], RegionNorm) for index in (1, 3, 5, 8)] == [True, True, False, False]
    assert dict(routing.skipped) == dict.fromkeys(("5", "8"), "its statistics stay shared (lorkd.shared_norms)")
    pattern = network()
    add_experts_(pattern, ("a", "b"), ExpertConfig(rank=2, shared_norms=("*",)))
    assert not any(isinstance(module, RegionNorm) for module in pattern.modules())
