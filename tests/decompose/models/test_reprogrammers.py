"""From a foundation's features to a student's: range, shapes, and grids of other sizes."""

from __future__ import annotations

import pytest
import torch

from lorkit.decompose.models.backbones.registry import build_backbone
from lorkit.decompose.models.reprogrammers import GridReprogrammer, PooledReprogrammer, resampled

RECTIFIED = {"resnet18": True, "shufflenet_v2_x1_0": True, "densenet121": True, "vit_tiny": False}


def test_the_range_of_reprogrammed_features_is_that_of_the_student() -> None:
    """A transformer's features have any sign: rectified ones would lie where its classifier never looks."""
    torch.manual_seed(0)
    t_NG = torch.randn(64, 12)
    means = [PooledReprogrammer(12, 7, 7, rectified=rectified)(t_NG) for rectified in (True, False)]
    assert means[0].min() >= 0
    assert means[1].min() < 0
    shapes = {"channels": 1, "image_size": (32, 32)}
    found = {name: getattr(build_backbone(name, **shapes), "rectified", False) for name in RECTIFIED}
    assert found == RECTIFIED


@pytest.mark.parametrize("name", [name for name, rectified in RECTIFIED.items() if rectified])
def test_backbones_that_say_so_have_features_that_are_never_negative(name: str) -> None:
    torch.manual_seed(0)
    network = build_backbone(name, channels=1, image_size=(32, 32)).eval()
    with torch.no_grad():
        assert network(torch.randn(4, 1, 32, 32)).min() >= 0


@pytest.mark.parametrize(
    ("have", "want"), [((4, 4), (9, 7)), ((8, 8), (4, 2)), ((2, 8), (4, 4)), ((2, 3, 4), (4, 3, 2))]
)
def test_grids_come_to_the_students_places(have: tuple[int, ...], want: tuple[int, ...]) -> None:
    t = torch.randn(2, 5, *have)
    assert GridReprogrammer(5, 3, want)(t).shape == (2, 3, *want)
    constant = torch.full((2, 5, *have), 1.5)
    torch.testing.assert_close(resampled(constant, want), torch.full((2, 5, *want), 1.5))


def test_coarser_grids_are_averages_and_equal_ones_are_left_alone() -> None:
    x = torch.randn(2, 3, 4, 6)
    torch.testing.assert_close(resampled(x, (2, 3)), x.reshape(2, 3, 2, 2, 3, 2).mean((3, 5)))
    assert resampled(x, (4, 6)) is x
