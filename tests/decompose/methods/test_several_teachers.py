"""Several teachers against the sum that their definition states, in float64."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from lorkit.decompose.config import Config, TrainConfig, default_config
from lorkit.decompose.data.batches.loader import Batch
from lorkit.decompose.methods import TrainingModule, get_method
from lorkit.decompose.methods.several_teachers import SeveralTeachers, build_module, validation_shares
from lorkit.decompose.models.foundation.model import Foundation, with_regions
from lorkit.decompose.regions import Region, RegionSet
from lorkit.decompose.tasks.losses import total
from lorkit.decompose.training.foundation.resolving import new_foundation
from lorkit.decompose.training.loop.optimizer import average_of

REGIONS = RegionSet([Region(name="a", classes=("x", "y")), Region(name="b", classes=("x", "y", "z"))])
TEACHER = "{backbone: tiny_resnet_wide, image: {size: 24}}"
METHODS = ["kd", "fitnet", "rkd", "sp", "dist", "cka", "rd", "drd", "stl-kd", "mtl-kd", "lorkd"]


def settings(method: str, *, teachers: str = f"[{TEACHER}]") -> Config:
    return default_config(
        overrides=[
            "regions={a: {data: x}, b: {data: x}}",
            "image.size=16",
            "image.channels=1",
            "student.backbone=tiny_resnet",
            "foundation.backbone=tiny_resnet_wide",
            f"teachers={teachers}",
            "lorkd.rank=2",
            "train.label_smoothing=0.1",
        ],
        method=method,
    )


def teachers_of(config: Config) -> list[Foundation]:
    """Return the two teachers, with statistics and heads that are not those of the start."""
    found = []
    for index, own in enumerate((config, config.of_teacher(0))):
        torch.manual_seed(10 + index)
        foundation = new_foundation(own, REGIONS)
        with torch.no_grad():
            for value in foundation.model.parameters():
                value.add_(0.05 * torch.randn_like(value))
        found.append(replace(foundation, model=foundation.model.double().eval().requires_grad_(False)))
    return found


def built(method: str) -> tuple[SeveralTeachers, list[Foundation], Batch]:
    config = settings(method)
    members = get_method(method).phases(REGIONS)[0]
    first, second = teachers_of(config)
    known = [_of(one, members) for one in (first, second)]
    torch.manual_seed(3)
    module = build_module(get_method(method), config, members, known)
    assert isinstance(module, SeveralTeachers)
    module.double()
    with torch.no_grad():
        for value in module.parameters():
            value.add_(0.02 * torch.randn_like(value))
        for one in known:
            one.model.double()
    return module, known, batch_of(members)


def _of(foundation: Foundation, members: RegionSet) -> Foundation:
    return with_regions(foundation, members)


def batch_of(members: RegionSet) -> Batch:
    generator = torch.Generator().manual_seed(0)
    region = torch.repeat_interleave(torch.arange(len(members.names)), 6)
    count = len(region)
    image, other = (torch.rand(count, 1, size, size, generator=generator, dtype=torch.float64) for size in (16, 24))
    label = torch.arange(count) % 2
    return Batch(image=image, label=label, region=region, sample=torch.arange(count), further_images=(other,))


def gradients(module: TrainingModule, loss: Tensor) -> dict[str, Tensor]:
    module.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    return {name: value.grad.clone() for name, value in module.named_parameters() if value.grad is not None}


@pytest.mark.parametrize("method", METHODS)
def test_the_loss_is_that_of_labels_once_and_of_each_teacher_with_its_share(method: str, tiny: None) -> None:
    module, known, batch = built(method)
    names = module.live.regions.names
    shares = {name: (0.75, 0.25) if name == "a" else (0.5, 0.5) for name in names}
    module.share_RT.copy_(torch.tensor([shares[name] for name in names]))
    plain = copy.deepcopy(module)
    with module.live.scope(batch.region):
        answers = module.query_teachers([one.model for one in known], batch)
        found = module(batch, answers)
        ours = gradients(module, total(found))
    # the same from each method's own module alone, on a student that both share
    learners = list(plain.learners)
    seen = [batch, batch._replace(teacher_image=batch.further_images[0])]
    expected: dict[str, Tensor] = {}
    losses = []
    with plain.live.scope(batch.region):
        for index, (one, foundation) in enumerate(zip(learners, known, strict=True)):
            one.train()
            answer = one.query_teacher(foundation.model, seen[index])
            for term, row in one(batch, answer).items():
                for name, value in row.items():
                    if term == "ce" and index:
                        continue
                    weight = 1.0 if term == "ce" else shares[name][index]
                    key = f"{term}{' 2' if index else ''} {name}"
                    expected[key] = weight * value
                    losses.append(expected[key])
        theirs = gradients(plain, torch.stack(losses).sum())
    flat = {f"{term} {name}": value for term, row in found.items() for name, value in row.items()}
    assert flat.keys() == expected.keys()
    assert len(flat) > len(names)
    for key, value in flat.items():
        torch.testing.assert_close(value, expected[key], rtol=1e-10, atol=1e-12)
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        torch.testing.assert_close(value, theirs[name], rtol=1e-9, atol=1e-12)


def test_kd_is_the_published_loss_with_a_divergence_from_each_teacher(tiny: None) -> None:
    module, known, batch = built("kd")
    module.share_RT.copy_(torch.tensor([[0.25, 0.75]]))
    settings = default_config().kd
    with module.live.scope(batch.region):
        found = module(batch, module.query_teachers([one.model for one in known], batch))
        logits = module.live(batch.image, batch.region).logits["a"]
    expected = F.cross_entropy(logits, batch.label, label_smoothing=0.1)
    for share, one, image in zip((0.25, 0.75), known, (batch.image, batch.further_images[0]), strict=True):
        assert image is not None
        target = one.model.heads["a"](one.model.backbone(one.model.normalise(image))) / settings.temperature
        log_probabilities = (logits / settings.temperature).log_softmax(1)
        divergence = F.kl_div(log_probabilities, target.log_softmax(1), reduction="batchmean", log_target=True)
        expected = expected + share * settings.weight * settings.temperature**2 * divergence
    torch.testing.assert_close(total(found), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_one_teacher_is_the_module_of_the_method(method: str, tiny: None) -> None:
    config = settings(method, teachers="[]")
    (first, _), members = teachers_of(settings(method)), get_method(method).phases(REGIONS)[0]
    first.model.float()
    torch.manual_seed(3)
    module = build_module(get_method(method), config, members, [_of(first, members)])
    state = torch.get_rng_state()
    torch.manual_seed(3)
    plain = get_method(method).build(config, members, _of(first, members))
    assert type(module) is type(plain)
    assert torch.equal(state, torch.get_rng_state())
    batch = batch_of(members)
    batch = batch._replace(image=batch.image.float())
    rows = []
    for one in (module, plain):
        with one.live.scope(batch.region):
            answer = one.query_teachers([_of(first, members).model], batch)
            rows.append(gradients(one, total(one(batch, answer))))
    assert rows[0].keys() == rows[1].keys()
    assert all(torch.equal(value, rows[1][name]) for name, value in rows[0].items())


def test_the_student_runs_once_and_is_stored_once(tiny: None) -> None:
    module, known, batch = built("lorkd")
    runs: list[object] = []
    module.live.register_forward_hook(lambda *_: runs.append(1))
    with module.live.scope(batch.region):
        module(batch, module.query_teachers([one.model for one in known], batch))
    assert len(runs) == 1
    keys = list(module.state_dict())
    assert len([key for key in keys if key.endswith("heads.a.weight")]) == 1
    assert {key.partition(".")[0] for key in keys} == {"live", "learners", "share_RT"}
    average = average_of(module, 0.9).module
    assert isinstance(average, SeveralTeachers)
    assert all(one.live is average.live for one in average.learners)
    assert average.live is not module.live
    train = TrainConfig()
    groups = module.parameter_groups(train)
    grouped = [id(value) for group in groups for value in group["params"]]
    assert sorted(grouped) == sorted(id(value) for value in module.parameters())
    assert "lr_ratio" in groups[-1]


def test_settings_of_the_loop_reach_every_teacher(tiny: None) -> None:
    module, known, batch = built("rd")
    module.progress = 0.5
    module.logit_shifts = {"a": torch.tensor([0.3, -0.2], dtype=torch.float64)}
    with module.live.scope(batch.region):
        module(batch, module.query_teachers([one.model for one in known], batch))
    for one in module.learners:
        assert one.progress == 0.5
        assert one.logit_shifts is module.logit_shifts
    module.compare_with_teachers([{"a": 0.9}, {"a": 0.6}], {"a": 0.5})
    assert module.teaching_shares()["a"] == pytest.approx([0.8, 0.2])


def test_shares_follow_the_distance_from_chance() -> None:
    assert validation_shares([0.9, 0.7], 0.5) == pytest.approx([2 / 3, 1 / 3])
    assert validation_shares([0.9, 0.4], 0.5) == [1.0, 0.0]
    assert validation_shares([0.5, 0.4], 0.5) == [0.5, 0.5]
    assert validation_shares([0.7], 0.5) == [1.0]
    assert sum(validation_shares([0.61, 0.62, 0.93], 0.33)) == pytest.approx(1.0)
