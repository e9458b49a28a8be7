"""What a method asks of the foundation: maps of images of the teacher's own size come on the student's grid."""

from __future__ import annotations

import torch

from lorkit.decompose.config import default_config
from lorkit.decompose.data.batches.loader import Batch
from lorkit.decompose.methods import get_method
from lorkit.decompose.methods.baselines.students import shared_network
from lorkit.decompose.regions import Region, RegionSet

REGIONS = RegionSet([Region(name="a", task="segmentation", classes=("vessel",))])


def test_maps_of_a_teachers_own_size_come_on_the_students_grid() -> None:
    settings = ["regions={a: {data: x, task: segmentation}}", "image.size=32", "foundation.image={size: 64}"]
    networks = ["foundation.backbone=basicunet", "student.backbone=basicunet"]
    config = default_config(overrides=[*settings, *networks], method="mtl")
    torch.manual_seed(0)
    teacher = shared_network(config, "basicunet", REGIONS, image=config.foundation_image).eval()
    module = get_method("mtl").build(config, REGIONS, None)
    region = torch.zeros(2, dtype=torch.int64)
    batch = Batch(torch.rand(2, 1, 32, 32), torch.zeros(2, 32, 32).long(), region, region, torch.rand(2, 1, 64, 64))
    with torch.no_grad():
        answer, own = module.query_teacher(teacher, batch), teacher(batch.teacher_image, region)
    assert answer.logits["a"].shape == (2, 2, 32, 32)
    pooled = torch.nn.functional.avg_pool2d(own.features, 2)
    torch.testing.assert_close(answer.features, pooled)
    # logits follow from the features that a cache would have kept, to the bit
    assert torch.equal(answer.logits["a"], teacher.classify_features(answer.features, region).logits["a"])
