"""SP: similarities of the samples of a batch, on the last grid or on pooled features."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from lorkit.decompose.data.batches.loader import Batch
from lorkit.decompose.models.backbones.stage_adapters import staged


def test_the_term_compares_similarities(make_distilled: Callable[..., Any], six_images: Batch) -> None:
    for layer in ("grid", "pooled"):
        _, module, foundation = make_distilled("sp", "sp.weight=7", f"sp.layer={layer}")
        found = module(six_images, module.query_teacher(foundation.model, six_images))
        image = six_images.image
        s, t = (staged(model.backbone).run_stages(model.normalise(image)) for model in (module.live, foundation.model))
        pair = (s.grids[-1], t.grids[-1]) if layer == "grid" else (s.features, t.features)
        x, y = (F.normalize(side.flatten(1) @ side.flatten(1).T, dim=1) for side in pair)
        torch.testing.assert_close(found["sp"]["a"], 7 * (x - y).square().sum() / 6**2)
