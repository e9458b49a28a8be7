"""DIST: correlations of logits, by sample and by class."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from lorkit.decompose.data.batches.loader import Batch


def test_the_terms_are_correlations_of_logits(make_distilled: Callable[..., Any], six_images: Batch) -> None:
    _, module, foundation = make_distilled("dist", "dist.inter=3", "dist.intra=0.5", "dist.temperature=2")
    found = module(six_images, module.query_teacher(foundation.model, six_images))
    image = six_images.image
    z_s, z_t = (model(image, "a").logits["a"] for model in (module.live, foundation.model))
    p, q = F.softmax(z_s / 2, dim=1), F.softmax(z_t / 2, dim=1)
    inter = 1 - torch.stack([torch.corrcoef(torch.stack(pair))[0, 1] for pair in zip(p, q, strict=True)]).mean()
    intra = 1 - torch.stack([torch.corrcoef(torch.stack(pair))[0, 1] for pair in zip(p.T, q.T, strict=True)]).mean()
    torch.testing.assert_close(found["inter"]["a"], 3 * 2**2 * inter, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found["intra"]["a"], 0.5 * 2**2 * intra, rtol=1e-5, atol=1e-6)
