"""FitNets: the hint is a regression on the coarser of two grids."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from lorkit.decompose.data.batches.loader import Batch
from lorkit.decompose.methods.distillation.fitnet import FitnetModule, Regressor, one_grid
from lorkit.decompose.models.backbones.stage_adapters import staged


def test_the_hint_is_a_regression_by_a_convolution_on_the_coarser_grid(
    make_distilled: Callable[..., Any], six_images: Batch
) -> None:
    given = six_images
    _, module, foundation = make_distilled("fitnet", "fitnet.weight=3")
    assert isinstance(module, FitnetModule)
    value = module(given, module.query_teacher(foundation.model, given))["hint"]["a"]
    ours, theirs = (
        staged(model.backbone).run_stages(model.normalise(given.image)).grids[-1]
        for model in (module.live, foundation.model)
    )
    weight = module.regressor.weight[:, :, None, None]
    expected = F.conv2d(ours, weight, module.regressor.bias)
    torch.testing.assert_close(value, 3 * (expected - theirs).square().mean())
    x, y = one_grid(torch.rand(2, 3, 4, 1), torch.rand(2, 5, 2, 8))
    assert (x.shape[2:], y.shape[2:]) == ((2, 1), (2, 1))
    volume = torch.rand(2, 3, 4, 4, 4)
    assert torch.equal(one_grid(volume, torch.rand(2, 5, 2, 2, 2))[0], F.avg_pool3d(volume, 2))
    assert Regressor(3, 5)(volume).shape == (2, 5, 4, 4, 4)
