"""Distilled students share the terms of lorkd."""

from __future__ import annotations

import pytest
import torch

from lorkit.decompose.config import Config, default_config
from lorkit.decompose.data.batches.loader import Batch
from lorkit.decompose.methods import get_method
from lorkit.decompose.methods.baselines.students import shared_network
from lorkit.decompose.methods.distillation.feature_and_logit import DistillingModule
from lorkit.decompose.models.foundation.model import Foundation, with_regions
from lorkit.decompose.regions import Region, RegionSet

REGIONS = RegionSet([Region(name="a", classes=("x", "y")), Region(name="b", classes=("x", "y", "z"))])
ONE = RegionSet([REGIONS.get("b")])


def make(*settings: str, backbone: str = "shufflenet_v2_x1_0") -> tuple[Config, Foundation]:
    small = ("image.size=16", "student.backbone=shufflenet_v2_x1_0", f"foundation.backbone={backbone}")
    config = default_config(overrides=["regions={a: {data: x}, b: {data: x}}", *small, *settings])
    torch.manual_seed(0)
    model = shared_network(config, backbone, REGIONS).double().eval().requires_grad_(False)
    heads = {"a": "own", "b": "probe"}
    return config, Foundation(model=model, backbone=backbone, regions=REGIONS, heads=heads, image={}, source={"x": 1})


def images(count: int = 4) -> torch.Tensor:
    return torch.rand(count, 1, 16, 16, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.mark.parametrize("name", ["mtl-kd", "stl-kd"])
def test_students_are_distilled_by_the_terms_of_lorkd(name: str) -> None:
    config, foundation = make()
    regions = torch.zeros(4, dtype=torch.int64)
    batch = Batch(image=images(), label=torch.tensor([0, 1, 1, 0]), region=regions, sample=torch.arange(4))
    first = RegionSet([REGIONS.get("a")])
    teacher = with_regions(foundation, first)
    student = get_method(name).build(config, first, teacher).double().eval()
    answers = teacher.model(batch.image, batch.region)
    terms = student(batch, answers)
    assert set(terms) == {"ce", "feature_kd", "projector", "logit_kd"}
    assert isinstance(student, DistillingModule), "one implementation for all"
    assert "logit_kd" not in get_method(name).build(config, ONE, with_regions(foundation, ONE)).double()(
        batch, with_regions(foundation, ONE).model(batch.image, batch.region)
    ), "a probe is nothing that the foundation knew"
    off, _ = make("lorkd.feature_kd.weight=0")
    assert len(get_method(name).notices(off)) == 1
