from __future__ import annotations

import pytest
import torch
from small_methods import REGIONS
from torch import nn

from lorkit.decompose.config import default_config
from lorkit.decompose.methods import get_method
from lorkit.decompose.methods.baselines import linear_probe
from lorkit.decompose.methods.baselines.students import shared_network
from lorkit.decompose.models.foundation.model import Foundation
from lorkit.decompose.regions import Region


def test_heads_are_fitted_on_a_frozen_copy_of_the_foundation(monkeypatch: pytest.MonkeyPatch) -> None:
    small = ("regions={a: {data: x}, b: {data: x}}", "image.size=16", "foundation.backbone=shufflenet_v2_x1_0")
    config = default_config(overrides=small)
    model = shared_network(config, "shufflenet_v2_x1_0", REGIONS).eval().requires_grad_(False)
    heads = {"a": "own", "b": "own"}
    foundation = Foundation(model=model, backbone="shufflenet_v2_x1_0", regions=REGIONS, heads=heads, image={})
    method = get_method("linear-probe")
    assert isinstance(method, linear_probe.LinearProbe)
    module = method.build(config, REGIONS, foundation)
    moving = {name for name, parameter in module.live.named_parameters() if parameter.requires_grad}
    assert moving == {"heads.a.weight", "heads.a.bias", "heads.b.weight", "heads.b.bias"}
    fitted = {name: nn.Linear(1024, 2 + (name == "b")) for name in "ab"}
    asked = []

    def probe_for(live: nn.Module, region: Region, train: object, val: object) -> nn.Linear:
        asked.append((live, region.name, train, val))
        return fitted[region.name]

    monkeypatch.setattr(linear_probe, "probe_for", probe_for)
    method.fit(module.live, {"a": 1, "b": 2}, {"a": 3, "b": 4})  # type: ignore[dict-item]
    assert asked == [(module.live, "a", 1, 3), (module.live, "b", 2, 4)]
    assert all(module.live.heads[name] is head for name, head in fitted.items())
    assert not any(torch.equal(model.heads[name].weight, head.weight) for name, head in fitted.items())  # type: ignore[arg-type]
    assert "train.epochs" in method.notices(config)[0]
    assert "nor" not in method.notices(config)[0]
    stated = config.train.model_copy(update={"patience": 2, "logit_adjustment": 1.0})
    (text,) = method.notices(config.model_copy(update={"train": stated}))
    assert text.endswith(", nor train.patience 2, train.logit_adjustment 1.0")
