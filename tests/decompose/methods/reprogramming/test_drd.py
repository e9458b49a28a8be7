"""DRD: injected features, gradient paths, and running statistics that only the student's own passes write."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from cka_reference import cka
from torch import Tensor

from lorkit.decompose.config import Config, default_config
from lorkit.decompose.data.batches.loader import Batch
from lorkit.decompose.errors import UsageError
from lorkit.decompose.methods import get_method
from lorkit.decompose.methods.baselines.students import shared_network
from lorkit.decompose.methods.reprogramming.drd import DeepReprogramming
from lorkit.decompose.models.backbones.stage_adapters import staged
from lorkit.decompose.models.backbones.stages import STAGES
from lorkit.decompose.models.foundation.model import Foundation
from lorkit.decompose.regions import Region, RegionSet

pytestmark = pytest.mark.usefixtures("tiny")
ONE = RegionSet([Region(name="a", classes=("x", "y", "z"))])


def make(
    *settings: str, student: str = "tiny_resnet", teacher: str = "tiny_resnet_wide"
) -> tuple[Config, DeepReprogramming, Foundation]:
    small = ("image.size=32", f"student.backbone={student}", f"foundation.backbone={teacher}")
    config = default_config(overrides=["regions={a: {data: x}}", *small, *settings])
    torch.manual_seed(0)
    model = shared_network(config, teacher, ONE).double().eval().requires_grad_(False)
    foundation = Foundation(model=model, backbone=teacher, regions=ONE, heads={"a": "own"}, image={}, source={})
    module = get_method("drd").build(config, ONE, foundation).double()
    assert isinstance(module, DeepReprogramming)
    return config, module, foundation


def batch(count: int = 6) -> Batch:
    image = torch.rand(count, 1, 32, 32, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    region = torch.zeros(count, dtype=torch.int64)
    return Batch(image=image, label=torch.arange(count) % 3, region=region, sample=torch.arange(count))


def terms_of(module: DeepReprogramming, foundation: Foundation) -> dict[str, Tensor]:
    given = batch()
    with torch.no_grad():
        answers = module.query_teacher(foundation.model, given)
    return {name: term["a"] for name, term in module(given, answers).items()}


@pytest.mark.parametrize("how", ["sum", "mean"])
def test_every_term_is_the_formula(how: str) -> None:
    _, module, foundation = make(f"rd.stages={how}", "rd.kd.temperature=2", "rd.decay=linear", "rd.bn_policy=eval")
    module.eval()
    module.progress = 0.25
    found = {name: value.item() for name, value in terms_of(module, foundation).items()}
    given = batch()
    with torch.no_grad():
        teacher = module.query_teacher(foundation.model, given)
        network, head = staged(module.live.backbone), module.live.heads["a"]
        walk = network.run_stages(module.live.normalise(given.image))
        z = head(walk.features)
        hybrid, kd, aligned = [], [], []
        for stage in range(STAGES):
            r = module.reprogrammers[stage](teacher.grids[stage])
            z_i = head(network.forward_from(stage, r, walk.context[stage]))
            hybrid.append(F.cross_entropy(z_i, given.label).item())
            p = F.softmax(z_i / 2, 1)
            kd.append(4 * (p * (p.log() - F.log_softmax(z / 2, 1))).sum(1).mean().item())
            aligned.append(-cka(walk.grids[stage].mean((2, 3)), r.mean((2, 3))).item())
    share = 0.75 / (STAGES if how == "mean" else 1)
    wanted = {
        "ce": F.cross_entropy(z, given.label).item(),
        "hybrid": share * sum(hybrid),
        "kd": share * sum(kd),
        "cka": sum(aligned) / (STAGES if how == "mean" else 1),
    }
    assert found == pytest.approx(wanted, abs=1e-9)


def test_each_reprogrammer_learns_from_the_hybrid_loss_alone_and_from_alignment_alone() -> None:
    _, module, foundation = make()
    for term in ("hybrid", "cka"):
        module.zero_grad(set_to_none=True)
        terms_of(module, foundation)[term].backward()
        for reprogrammer in module.reprogrammers:
            assert all(one.grad is not None and one.grad.any() for one in reprogrammer.parameters()), term
    module.zero_grad(set_to_none=True)
    terms_of(module, foundation)["hybrid"].backward()
    first = staged(module.live.backbone).stages[0]  # type: ignore[attr-defined]
    assert first is not None
    stem = [one for name, one in module.live.backbone.named_parameters() if name.startswith(("conv1", "layer1"))]
    assert not any(one.grad is not None and one.grad.any() for one in stem), "no hybrid pass goes through stage 1"
    later = [one for name, one in module.live.backbone.named_parameters() if name.startswith("layer4")]
    assert all(one.grad is not None and one.grad.any() for one in later)
    assert all(one.grad is None for one in foundation.model.parameters())


def test_the_teacher_and_the_students_statistics_see_no_hybrid_pass() -> None:
    _, module, foundation = make()
    before = {name: value.clone() for name, value in foundation.model.state_dict().items()}
    module.train()
    twin = make()[1].train()
    terms_of(module, foundation)
    given = batch()
    twin.live.backbone(twin.live.normalise(given.image))
    for name, value in module.live.named_buffers():
        torch.testing.assert_close(value, dict(twin.live.named_buffers())[name], msg=name)
    assert all(torch.equal(value, before[name]) for name, value in foundation.model.state_dict().items())
    shared = make("rd.bn_policy=shared")[1].train()
    terms_of(shared, foundation)
    moved = dict(shared.live.named_buffers())["backbone.layer4.1.running_mean"]
    assert not torch.allclose(moved, dict(module.live.named_buffers())["backbone.layer4.1.running_mean"])


@pytest.mark.parametrize(
    ("student", "teacher"), [("vit_tiny", "tiny_resnet"), ("tiny_resnet", "vit_tiny"), ("vit_tiny", "densenet121")]
)
def test_structures_cross(student: str, teacher: str) -> None:
    _, module, foundation = make(student=student, teacher=teacher)
    foundation.model.to(memory_format=torch.channels_last)
    terms = terms_of(module, foundation)
    assert set(terms) == {"ce", "hybrid", "kd", "cka"}
    torch.stack(list(terms.values())).sum().backward()
    assert all(torch.isfinite(one.grad).all() for one in module.parameters() if one.grad is not None)
    assert all(one.grad is not None for one in module.reprogrammers.parameters())


def test_without_a_teacher_it_refuses() -> None:
    config, _, _ = make()
    with pytest.raises(UsageError, match="reprogramming without a foundation"):
        get_method("drd").build(config, ONE, None)
