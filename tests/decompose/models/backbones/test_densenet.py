from __future__ import annotations

import pytest
import torch

from lorkit.decompose.errors import UsageError
from lorkit.decompose.models.backbones.densenet import densenet121, stages


def test_its_blocks_are_four_stages_and_the_walk_ends_in_its_features() -> None:
    torch.manual_seed(0)
    network = densenet121(1, (32, 32)).eval()
    image = torch.rand(2, 1, 32, 32)
    with torch.inference_mode():
        found = stages(network).run_stages(image)
        torch.testing.assert_close(found.features, network(image))
    assert [tuple(grid.shape[1:]) for grid in found.grids] == [(128, 4, 4), (256, 2, 2), (512, 1, 1), (1024, 1, 1)]
    assert found.features.shape == (2, 1024)


def test_an_image_with_nothing_left_to_halve_is_refused() -> None:
    with pytest.raises(UsageError, match=r"image size 28x64 for densenet121; required: sides of 29 or more"):
        densenet121(1, (28, 64))
