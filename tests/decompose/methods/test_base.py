"""What a method asks of the foundation: about which images, and on which grid the answers come."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from lorkit.decompose.config import default_config
from lorkit.decompose.data.batches.loader import Batch
from lorkit.decompose.data.batches.pool import label_weights
from lorkit.decompose.methods import METHODS, get_method
from lorkit.decompose.methods.baselines.students import shared_network
from lorkit.decompose.models.foundation.model import Foundation
from lorkit.decompose.regions import Region, RegionSet

REGIONS = RegionSet([Region(name="a", task="segmentation", classes=("vessel",))])
TAUGHT = [name for name, method in METHODS.items() if method.uses_teacher and not method.of_maps]


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
    pooled = torch.nn.functional.avg_pool2d(own.features["a"], 2)
    torch.testing.assert_close(answer.features["a"], pooled)
    # logits follow from the features that a cache would have kept, to the bit
    assert torch.equal(answer.logits["a"], teacher.classify_features(answer.features, region).logits["a"])


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize(
    ("method", "layer"), [*((name, "pooled") for name in TAUGHT), ("fitnet", "grid"), ("sp", "grid")]
)
def test_the_foundation_is_asked_about_its_own_images(method: str, layer: str) -> None:
    one = RegionSet([Region(name="a", classes=("x", "y"))])
    sizes = ["image={size: 16, channels: 1}", "foundation.image={size: 32, channels: 1}"]
    networks = ["foundation.backbone=tiny_resnet_wide", "student.backbone=tiny_resnet"]
    layers = [f"fitnet.layer={layer}", f"sp.layer={layer}"]
    config = default_config(overrides=["regions={a: {data: x}}", *sizes, *networks, *layers], method=method)
    torch.manual_seed(0)
    model = shared_network(config, "tiny_resnet_wide", one, image=config.foundation_image).eval()
    foundation = Foundation(
        model=model, backbone="tiny_resnet_wide", regions=one, heads={"a": "own"}, image={}, source={}
    )
    module = get_method(method).build(config, one, foundation)
    region = torch.zeros(4, dtype=torch.int64)
    first, second = (
        Batch(torch.rand(4, 1, 16, 16), region, region, region, torch.rand(4, 1, 32, 32)) for _ in range(2)
    )

    def ask(batch: Batch) -> torch.Tensor:
        features = module.query_teacher(model, batch).features
        return features["a"] if isinstance(features, dict) else features

    with torch.no_grad():
        answer, again, other = (ask(batch) for batch in (first, first._replace(image=second.image), second))
        own = model.features(first.teacher_image, region)
    assert torch.equal(answer, own)
    assert torch.equal(answer, again)
    assert not torch.allclose(answer, other)


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("method", TAUGHT)
def test_unlabelled_images_are_taught_but_have_no_loss_of_their_own(method: str) -> None:
    """The teacher's terms are those of the whole batch; the loss is the mean over the labelled images."""
    regions = RegionSet([Region(name="a", classes=("x", "y", "z"))])
    small = ("image.size=32", "student.backbone=tiny_resnet", "foundation.backbone=tiny_resnet_wide")
    config = default_config(overrides=["regions={a: {data: x}}", *small], method=method)
    torch.manual_seed(0)
    model = shared_network(config, "tiny_resnet_wide", regions).double().eval().requires_grad_(False)
    heads = {"a": "own"}
    foundation = Foundation(model=model, backbone="tiny_resnet_wide", regions=regions, heads=heads, image={}, source={})
    module = get_method(method).build(config, regions, foundation).double().eval()
    image = torch.rand(6, 1, 32, 32, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    label, zeros = torch.arange(6) % 3, torch.zeros(6, dtype=torch.int64)
    whole = Batch(image=image, label=label, region=zeros, sample=torch.arange(6))
    known = torch.tensor([True, False, True, True, False, False])
    target = torch.where(known, label, -1)
    mixed = whole._replace(label=target, weight=label_weights(target).double())
    answer = module.query_teacher(foundation.model, whole)
    one, two = module(whole, answer), module(mixed, answer)
    assert one.keys() == two.keys()
    of_labels = {"ce", "hybrid", "projector"}
    for term in one.keys() - of_labels:
        torch.testing.assert_close(one[term]["a"], two[term]["a"])
    logits = module.live(image, zeros).logits["a"]
    wanted = F.cross_entropy(logits[known], label[known])
    torch.testing.assert_close(two["ce"]["a"], wanted)
    found = torch.autograd.grad(two["ce"]["a"], module.live.heads["a"].weight, retain_graph=True)[0]
    torch.testing.assert_close(found, torch.autograd.grad(wanted, module.live.heads["a"].weight)[0])
    with pytest.raises(AssertionError):
        torch.testing.assert_close(one["ce"]["a"], two["ce"]["a"])


@pytest.mark.usefixtures("tiny")
def test_a_batch_without_any_label_has_no_loss() -> None:
    regions = RegionSet([Region(name="a", classes=("x", "y", "z"))])
    config = default_config(overrides=["regions={a: {data: x}}", "student.backbone=tiny_resnet"], method="stl")
    module = get_method("stl").build(config, regions, None)
    label = torch.full((4,), -1)
    batch = Batch(
        image=torch.rand(4, 1, 32, 32),
        label=label,
        region=torch.zeros(4, dtype=torch.int64),
        sample=torch.arange(4),
        weight=label_weights(label),
    )
    assert float(module(batch, None)["ce"]["a"]) == 0.0
