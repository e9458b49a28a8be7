"""KD against the textbook formula."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from lorkit.decompose.data.batches.loader import Batch
from lorkit.decompose.methods import HasAdapter, get_method


def test_the_term_is_the_softened_divergence(make_distilled: Callable[..., Any], six_images: Batch) -> None:
    _, module, foundation = make_distilled("kd", "kd.weight=0.5", "kd.temperature=2")
    found = module(six_images, module.query_teacher(foundation.model, six_images))
    image = six_images.image
    z_s, z_t = (model(image, "a").logits["a"] for model in (module.live, foundation.model))
    p, log_q = F.softmax(z_t / 2, dim=1), F.log_softmax(z_s / 2, dim=1)
    torch.testing.assert_close(found["kd"]["a"], 0.5 * 2**2 * (p * (p.log() - log_q)).sum(1).mean())
    torch.testing.assert_close(found["ce"]["a"], F.cross_entropy(z_s, six_images.label))


@pytest.mark.skipif(importlib.util.find_spec("peft") is None, reason="the extra 'peft' is not installed")
def test_lora_kd_names_who_makes_its_teacher(make_distilled: Callable[..., Any]) -> None:
    method = get_method("lora-kd")
    assert isinstance(method, HasAdapter)
    assert method.adapter.starts_from_foundation
    assert (method.uses_teacher, method.separate, method.starts_from_foundation) == (True, True, False)
    assert not isinstance(get_method("kd"), HasAdapter)
    config, _, _ = make_distilled("lora-kd", "kd.weight=0")
    assert method.notices(config) == ["kd.weight is 0: this term is off"]
