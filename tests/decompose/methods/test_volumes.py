"""Every U-Net as foundation and student of volumes: a step of LoRKD reaches every weight, and its expert is exact."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lorkit.decompose.config import default_config
from lorkit.decompose.data.batches.loader import Batch
from lorkit.decompose.experts import factor_parameters
from lorkit.decompose.methods import get_method
from lorkit.decompose.methods.baselines.students import shared_network
from lorkit.decompose.models.backbones.unets import UNETS
from lorkit.decompose.models.foundation.model import Foundation
from lorkit.decompose.regions import Region, RegionSet
from lorkit.decompose.tasks.losses import total

ONE = RegionSet([Region(name="a", classes=("x",), task="segmentation")])
NAMES = tuple(UNETS)


@pytest.mark.parametrize(("student", "foundation"), zip(NAMES, (*NAMES[1:], NAMES[0]), strict=True))
def test_u_nets_teach_and_learn_masks_of_volumes(student: str, foundation: str) -> None:
    divisor = max(UNETS[name].divisor for name in (student, foundation))
    size = (2 * divisor, divisor, divisor)
    own = (f"student.backbone={student}", f"foundation.backbone={foundation}", f"image.size={list(size)}")
    experts = ("image.channels=1", "lorkd.rank=2", "lorkd.decoder_rank_factor=0.5")
    config = default_config(overrides=["regions={a: {data: x}}", *own, *experts], method="lorkd")
    torch.manual_seed(0)
    model = shared_network(config, foundation, ONE).eval().requires_grad_(False)
    known = Foundation(model=model, backbone=foundation, regions=ONE, heads={"a": "own"}, image={}, source={})
    module = get_method("lorkd").build(config, ONE, known).train()
    for factor in factor_parameters(module.live):  # those that start at zero would stop the gradients of the others
        nn.init.normal_(factor, std=0.05)
    zero = torch.zeros(1, dtype=torch.int64)
    batch = Batch(image=torch.rand(1, 1, *size), label=torch.randint(0, 2, (1, *size)), region=zero, sample=zero)
    with torch.no_grad():
        answer = module.query_teacher(model, batch)
    with module.live.scope(batch.region):
        terms = module(batch, answer)
        total(terms).backward()
    assert set(terms) == {"ce", "feature_kd", "projector", "logit_kd"}
    for name, value in module.named_parameters():
        assert value.grad is not None, name
        assert value.grad.isfinite().all(), name
    module.eval()
    with torch.inference_mode():
        expert = module.live.deployable("a")(batch.image)
        torch.testing.assert_close(expert, module.live(batch.image, "a").logits["a"], rtol=1e-3, atol=1e-3)
