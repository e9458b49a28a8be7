"""CWD of volumes: its term against the formula, with gradients that reach the whole student."""

from __future__ import annotations

import torch
from small_masks import distilled_volumes, masked_volumes

from lorkit.decompose.tasks.losses import total


def test_the_term_compares_the_places_of_each_channel() -> None:
    module, foundation = distilled_volumes("cwd", "cwd.weight=2", "cwd.temperature=3")
    batch = masked_volumes()
    found = module(batch, module.query_teacher(foundation.model, batch))
    assert set(found) == {"ce", "cwd"}
    q, p = (model(batch.image, batch.region).logits["a"].flatten(2) / 3 for model in (module.live, foundation.model))
    p, q = p.softmax(2), q.softmax(2)
    torch.testing.assert_close(found["cwd"]["a"], 2 * 9 * (p * (p / q).log()).sum(2).mean())
    total(found).backward()
    assert all(value.grad is not None and value.grad.isfinite().all() for value in module.parameters())


def test_a_weight_of_zero_leaves_the_loss_of_the_task() -> None:
    module, foundation = distilled_volumes("cwd", "cwd.weight=0")
    batch = masked_volumes()
    assert set(module(batch, module.query_teacher(foundation.model, batch))) == {"ce"}
