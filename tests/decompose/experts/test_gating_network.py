"""Gates: softmax, temperature, groups, and the largest only."""

from __future__ import annotations

import pytest
import torch

from lorkit.decompose.errors import UsageError
from lorkit.decompose.experts.gating_network import GatingNetwork
from lorkit.decompose.experts.routers import router_class


def test_gates_are_the_softmax_of_scaled_scores_by_group() -> None:
    router = router_class("downscaled")((1, 16, 16))
    gating = GatingNetwork(router, 3, groups=4, temperature=0.5).double().eval()
    x = torch.rand(5, 1, 16, 16, dtype=torch.float64)
    found = gating(x)
    assert found.gates.shape == found.scores.shape == (5, 4, 3)
    scores = (router(x) @ gating.scores.weight.T + gating.scores.bias).reshape(5, 4, 3)
    weights = torch.exp(2 * scores)
    torch.testing.assert_close(found.gates, weights / weights.sum(-1, keepdim=True))


def test_top_k_keeps_the_largest_and_they_sum_to_one() -> None:
    gating = GatingNetwork(router_class("downscaled")((1, 16, 16)), 5, top_k=2).eval()
    found = gating(torch.rand(7, 1, 16, 16))
    assert ((found.gates > 0).sum(-1) == 2).all()
    torch.testing.assert_close(found.gates.sum(-1), torch.ones(7, 1))
    assert torch.equal(found.gates.argmax(-1), found.scores.argmax(-1))
    best = found.scores.topk(2).values
    torch.testing.assert_close(found.gates.max(-1).values, best.softmax(-1)[..., 0])


def test_more_kept_gates_than_adapters_are_refused() -> None:
    with pytest.raises(UsageError, match="top_k 3 of 2"):
        GatingNetwork(router_class("downscaled")((1, 16, 16)), 2, top_k=3)
