"""The similarity of gates against loops over pairs of images."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from routed_models import make_routed, routed_images

from lorkit.decompose.methods.mola.gate_figures import similarity


def test_the_similarity_is_the_mean_cosine_over_pairs_of_different_images() -> None:
    torch.manual_seed(0)
    gates = {"a": torch.rand(3, 4).double(), "b": torch.rand(5, 4).double()}
    found = similarity(gates)
    for one in gates:
        for other in gates:
            pairs = [
                torch.nn.functional.cosine_similarity(x, y, dim=0).item()
                for i, x in enumerate(gates[one])
                for j, y in enumerate(gates[other])
                if one != other or i != j
            ]
            assert found[one][other] == pytest.approx(np.mean(pairs), abs=1e-6)
    assert similarity({"a": gates["a"][:1]}) == {"a": {"a": 1.0}}


def test_an_epoch_has_the_gates_of_each_region() -> None:
    _, module = make_routed("mola.adapters=3", "mola.gates=stage")
    module = module.float().eval()
    val = {"a": routed_images("a", 4, 0), "b": routed_images("b", 6, 1)}
    found = module.gate_figures(val)
    assert found is not None
    gating, regions = module.live.gate(torch.from_numpy(val["b"].images.copy()))
    assert found["mean_gates"]["b"] == pytest.approx(gating.gates.flatten(1).mean(0).tolist(), abs=1e-5)
    assert len(found["mean_gates"]["a"]) == 12
    assert found["right_by_region"]["b"] == pytest.approx((regions.argmax(1) == 1).float().mean().item())
    assert set(found["similarity"]["a"]) == {"a", "b"}
