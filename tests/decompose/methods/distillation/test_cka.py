"""CKA of pooled features as the only term."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from cka_reference import cka

from lorkit.decompose.data.batches.loader import Batch
from lorkit.decompose.models.backbones.stage_adapters import staged


def test_the_term_is_the_negative_similarity(make_distilled: Callable[..., Any], six_images: Batch) -> None:
    _, module, foundation = make_distilled("cka", "cka.weight=2", "cka.estimator=unbiased")
    found = module(six_images, module.query_teacher(foundation.model, six_images))
    image = six_images.image
    s, t = (staged(model.backbone).run_stages(model.normalise(image)) for model in (module.live, foundation.model))
    torch.testing.assert_close(found["cka"]["a"], -2 * cka(s.features, t.features, estimator="unbiased"))
