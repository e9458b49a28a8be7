"""RKD: distances and angles of pooled features."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from lorkit.decompose.data.batches.loader import Batch
from lorkit.decompose.methods.losses.relational import angle_loss, distance_loss
from lorkit.decompose.models.backbones.stage_adapters import staged


def test_the_terms_compare_pooled_features(make_distilled: Callable[..., Any], six_images: Batch) -> None:
    _, module, foundation = make_distilled("rkd", "rkd.distance=2", "rkd.angle=3")
    found = module(six_images, module.query_teacher(foundation.model, six_images))
    image = six_images.image
    s, t = (staged(model.backbone).run_stages(model.normalise(image)) for model in (module.live, foundation.model))
    torch.testing.assert_close(found["distance"]["a"], 2 * distance_loss(s.features, t.features))
    torch.testing.assert_close(found["angle"]["a"], 3 * angle_loss(s.features, t.features))
