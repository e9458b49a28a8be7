"""Distilled students share the terms of lorkd."""

from __future__ import annotations

import pytest
import torch
from small_methods import ONE, REGIONS, images, make_foundation

from lorkit.decompose.data.batches.loader import Batch
from lorkit.decompose.methods import get_method
from lorkit.decompose.methods.baselines.students import shared_network
from lorkit.decompose.methods.distillation.feature_and_logit import DistillingModule, Projector
from lorkit.decompose.models.backbones.stage_adapters import staged
from lorkit.decompose.models.foundation.model import Foundation, with_regions
from lorkit.decompose.regions import Region, RegionSet


@pytest.mark.parametrize("name", ["mtl-kd", "stl-kd"])
def test_students_are_distilled_by_the_terms_of_lorkd(name: str) -> None:
    config, foundation = make_foundation()
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
    off, _ = make_foundation("lorkd.feature_kd.weight=0")
    assert len(get_method(name).notices(off)) == 1


@pytest.mark.usefixtures("tiny")
def test_features_of_one_kind_are_compared_where_tasks_differ() -> None:
    config, _ = make_foundation("student.backbone=tiny_resnet", backbone="tiny_resnet_wide")
    regions = RegionSet([REGIONS.get("a"), Region(name="b", classes=("lesion",), task="segmentation")])
    torch.manual_seed(0)
    model = shared_network(config, "tiny_resnet_wide", regions).double().eval()
    heads = {"a": "own", "b": "own"}
    foundation = Foundation(model=model, backbone="tiny_resnet_wide", regions=regions, heads=heads, image={})
    module = get_method("mtl-kd").build(config, regions, foundation).double().eval()
    ids = torch.tensor([0, 1, 1, 0])
    label = torch.full((4, 256), -1)
    label[ids == 1], label[ids == 0, 0] = torch.randint(0, 2, (2, 256)), torch.tensor([1, 0])
    batch = Batch(image=images(), label=label, region=ids, sample=torch.arange(4))
    terms = module(batch, module.query_teacher(model, batch))
    settings = config.lorkd.feature_kd
    for name, dense in (("a", False), ("b", True)):
        rows = batch.image[ids == regions.index(name)]
        s, t = (
            staged(one.backbone, dense=dense).run_stages(one.normalise(rows)).features for one in (module.live, model)
        )
        projector = module.projectors["maps" if dense else "pooled"]
        q, p = (torch.softmax(one / settings.temperature, 1) for one in (s, projector(t)))
        value = settings.temperature**2 * (p * (p / q).log()).sum(1)
        expected = settings.weight * value.flatten(1).mean(1).sum() / 4 if dense else settings.weight * value.sum() / 4
        torch.testing.assert_close(terms["feature_kd"][name], expected)
        idle = {id(one) for one in module.idle_parameters({name})}
        other = module.projectors["pooled" if dense else "maps"]
        assert idle == {id(one) for one in other.parameters()}
    assert set(terms["projector"]) == {"a", "b"}


def test_one_shares_a_student_and_the_other_has_one_per_region() -> None:
    shared, separate = get_method("mtl-kd"), get_method("stl-kd")
    assert (shared.uses_teacher, separate.uses_teacher) == (True, True)
    assert [phase.names for phase in shared.phases(REGIONS)] == [("a", "b")]
    assert [phase.names for phase in separate.phases(REGIONS)] == [("a",), ("b",)]


def test_without_a_foundation_there_is_no_projector_and_what_is_off_is_announced() -> None:
    config, _ = make_foundation("lorkd.feature_kd.weight=0", "lorkd.logit_kd.weight=0")
    module = get_method("mtl-kd").build(config, REGIONS, None)
    assert isinstance(module, DistillingModule)
    assert not module.projectors
    assert set(module.live.heads) == {"a", "b"}
    said = get_method("mtl-kd").notices(config)
    assert [name in line for name, line in zip(("feature_kd", "logit_kd"), said, strict=True)] == [True, True]


@pytest.mark.parametrize("places", [(), (2, 3)])
def test_the_projector_sees_the_direction_of_features_and_not_their_length(places: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(0)
    projector = Projector(5, 3).double()
    feature = torch.randn(4, 5, *places, generator=generator, dtype=torch.float64)
    found = projector(feature)
    assert found.shape == (4, 3, *places)
    unit = feature / feature.square().sum(1, keepdim=True).sqrt()
    wanted = torch.einsum("fg,ng...->nf...", projector.weight, 8 * unit) + projector.bias.view(-1, *(1 for _ in places))
    torch.testing.assert_close(found, wanted)
    lengths = torch.tensor([1e-3, 1.0, 60.0, 1e4], dtype=torch.float64).view(-1, *(1 for _ in feature.shape[1:]))
    torch.testing.assert_close(projector(lengths * feature), found)
