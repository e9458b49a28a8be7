"""LoRKD's step against an independent formula in float64."""

from __future__ import annotations

from dataclasses import replace

import torch
from small_methods import REGIONS

from lorkit.decompose.config import Config, default_config
from lorkit.decompose.data.batches.loader import Batch
from lorkit.decompose.methods import get_method
from lorkit.decompose.methods.baselines.students import shared_network
from lorkit.decompose.models.foundation.model import Foundation
from lorkit.decompose.tasks.losses import total

DATA = "regions={a: {data: x}, b: {data: x}}"


def make(*settings: str) -> tuple[Config, Foundation]:
    small = ("image.size=16", "student.backbone=shufflenet_v2_x1_0", "foundation.backbone=resnet18")
    config = default_config(overrides=[DATA, *small, *settings])
    torch.manual_seed(0)
    model = shared_network(config, "resnet18", REGIONS).double().eval().requires_grad_(False)
    heads = dict.fromkeys(REGIONS.names, "own")
    return config, Foundation(model=model, backbone="resnet18", regions=REGIONS, heads=heads, image={}, source={})


def batch(regions: tuple[int, ...] = (0, 0, 1, 1, 1)) -> Batch:
    generator = torch.Generator().manual_seed(3)
    image = torch.rand(len(regions), 1, 16, 16, generator=generator, dtype=torch.float64)
    region = torch.tensor(regions)
    return Batch(image=image, label=torch.arange(len(regions)) % 2, region=region, sample=torch.arange(len(regions)))


def test_lorkd_terms_are_the_formula() -> None:
    config, foundation = make()
    module = get_method("lorkd").build(config, REGIONS, foundation).double().eval()
    data = batch()
    teacher = foundation.model(data.image, data.region)
    terms = module(data, teacher)
    output = module.live(data.image, data.region)
    t_f, t_l = config.lorkd.feature_kd.temperature, config.lorkd.logit_kd.temperature
    expected = torch.zeros((), dtype=torch.float64)
    for n in range(5):
        name, row = ("a", n) if n < 2 else ("b", n - 2)
        logit, hers = output.logits[name][row], teacher.logits[name][row]
        projected = module.projectors["pooled"](teacher.features[name])[row]
        head = module.live.heads[name]
        expected = expected - torch.log_softmax(logit, 0)[data.label[n]]
        expected = expected - torch.log_softmax(head(projected), 0)[data.label[n]]
        for student, other, t in ((output.features[name][row], projected, t_f), (logit, hers, t_l)):
            p = torch.softmax(other / t, 0)
            expected = expected + t**2 * (p * (p.log() - torch.log_softmax(student / t, 0))).sum()
    torch.testing.assert_close(total(terms), expected / 5, rtol=1e-10, atol=1e-12)


def test_lorkd_gradients_are_the_sum_of_gradients_of_single_samples() -> None:
    config, foundation = make("train.label_smoothing=0.1")
    module = get_method("lorkd").build(config, REGIONS, foundation).double().eval()
    for name, parameter in module.named_parameters():
        if ".up." in name:  # starts at zero, where the gradient of the other factor would vanish
            torch.nn.init.normal_(parameter, std=0.1)
    data = batch()
    with module.live.scope(data.region):
        total(module(data, foundation.model(data.image, data.region))).backward()
    mixed = {name: parameter.grad for name, parameter in module.named_parameters()}
    module.zero_grad()
    for n in range(5):
        one = data.mapped(lambda tensor, n=n: tensor[n : n + 1])
        name = REGIONS.names[int(one.region)]
        output, teacher = module.live(one.image, name), foundation.model(one.image, name)
        projected, logit = module.projectors["pooled"](teacher.features[name]), output.logits[name]
        head = module.live.heads[name]
        anchored = projected @ head.weight.detach().T + head.bias.detach()
        target = torch.full_like(logit, 0.1 / logit.shape[1])
        target[0, one.label] += 0.9
        loss = -(target * torch.log_softmax(logit, 1)).sum() - torch.log_softmax(anchored, 1)[0, one.label].sum()
        for student, other, kd in (
            (output.features[name], projected, config.lorkd.feature_kd),
            (logit, teacher.logits[name], config.lorkd.logit_kd),
        ):
            p, q = torch.softmax(other / kd.temperature, 1), torch.softmax(student / kd.temperature, 1)
            loss = loss + kd.weight * kd.temperature**2 * (p * (p / q).log()).sum()
        (loss / 5).backward()
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None, name
        torch.testing.assert_close(mixed[name], parameter.grad, rtol=1e-7, atol=1e-11, msg=name)


def test_an_expert_learns_from_its_own_region_only_and_the_backbone_from_all() -> None:
    config, foundation = make()
    module = get_method("lorkd").build(config, REGIONS, foundation).double().train()
    data = batch((0, 0, 0, 0))
    with module.live.scope(data.region):
        total(module(data, foundation.model(data.image, data.region))).backward()
    grads = {name: parameter.grad for name, parameter in module.named_parameters()}
    of_b = [name for name in grads if "b" in name.split(".")]
    assert of_b
    assert all(grads[name] is None or not grads[name].any() for name in of_b)  # type: ignore[union-attr]
    assert grads["live.heads.a.weight"].abs().sum() > 0  # type: ignore[union-attr]
    assert grads["projectors.pooled.weight"].abs().sum() > 0  # type: ignore[union-attr]


def test_the_anchor_moves_the_projector_and_not_the_heads() -> None:
    config, foundation = make()
    module = get_method("lorkd").build(config, REGIONS, foundation).double()
    data = batch()
    terms = module(data, foundation.model(data.image, data.region))
    torch.stack(list(terms["projector"].values())).sum().backward()
    assert module.projectors["pooled"].weight.grad.abs().sum() > 0
    assert module.live.heads["a"].weight.grad is None


def test_a_zero_weight_is_announced_and_its_term_is_off() -> None:
    config, foundation = make("lorkd.feature_kd.weight=0", "lorkd.logit_kd.weight=0")
    assert len(get_method("lorkd").notices(config)) == 2
    module = get_method("lorkd").build(config, REGIONS, foundation).double()
    data = batch()
    assert set(module(data, foundation.model(data.image, data.region))) == {"ce"}


def test_factors_are_not_decayed_and_every_parameter_stands_in_one_group() -> None:
    config, foundation = make()
    module = get_method("lorkd").build(config, REGIONS, foundation)
    groups = module.parameter_groups(config.train)
    ids = [id(parameter) for group in groups for parameter in group["params"]]
    assert len(ids) == len(set(ids)) == len(list(module.parameters()))
    assert groups[-1]["weight_decay"] == 0
    assert groups[-1]["lr_ratio"] == 1
    assert groups[-1]["params"]


def test_a_weaker_teacher_counts_less_if_asked_for() -> None:
    config, foundation = make("lorkd.kd_by_region=auto")
    module = get_method("lorkd").build(config, REGIONS, foundation).double().eval()
    data = batch()
    teacher = foundation.model(data.image, data.region)
    before = module(data, teacher)
    module.compare_with_teacher({"a": 0.6, "b": 0.9}, {"a": 0.5, "b": 0.5})
    module.validated({"a": 0.7, "b": 0.8})
    after = module(data, teacher)
    for term, share in (("feature_kd", 0.5), ("logit_kd", 0.5), ("ce", 1.0), ("projector", 1.0)):
        torch.testing.assert_close(after[term]["a"], share * before[term]["a"], rtol=1e-6, atol=0)
        assert torch.equal(after[term]["b"], before[term]["b"])
    other = get_method("lorkd").build(config, REGIONS, foundation).double()
    other.load_state_dict(module.state_dict())  # a resumed training goes on with the same weights
    assert torch.equal(other.shares.share_R, module.shares.share_R)


def test_the_weights_of_teachers_are_off_by_default_and_yaml_says_off_in_its_way() -> None:
    config, foundation = make("lorkd.kd_by_region=off")
    assert config.lorkd.kd_by_region == default_config().lorkd.kd_by_region == "off"
    module = get_method("lorkd").build(config, REGIONS, foundation)
    module.validated({"a": 0.7, "b": 0.8})
    assert module.shares is None


def test_a_term_without_a_head_to_teach_with_is_announced_by_name() -> None:
    config, foundation = make()
    assert get_method("lorkd").build(config, REGIONS, foundation).notices() == []
    probed = replace(foundation, heads={"a": "own", "b": "probe"})
    (said,) = get_method("lorkd").build(config, REGIONS, probed).notices()
    assert said.startswith("lorkd.logit_kd has nothing to teach b with")
    silent, _ = make("lorkd.logit_kd.weight=0")
    assert get_method("lorkd").build(silent, REGIONS, probed).notices() == []


def test_norms_with_too_few_values_are_chosen_before_training_and_announced() -> None:
    config, _ = make()
    method = get_method("lorkd")
    assert method.resolve(config, REGIONS, 16).lorkd.shared_norms == ()
    resolved = method.resolve(config, REGIONS, 4)
    shared = resolved.lorkd.shared_norms
    assert shared
    network = method.network(resolved, REGIONS)
    plain = {name for name, one in network.backbone.named_modules() if type(one) is torch.nn.BatchNorm2d}
    assert {name for name in plain if ".regions." not in name} == set(shared)
    assert f"the statistics of {len(shared)} batch norms stay shared" in " ".join(method.notices(resolved))
    assert method.resolve(resolved, REGIONS, 64) == resolved, "what a run stores is not chosen again"
    mine, _ = make("lorkd.shared_norms=[conv5.1]")
    assert method.resolve(mine, REGIONS, 2) == mine
    everything, _ = make("lorkd.norm=shared")
    assert method.resolve(everything, REGIONS, 2) == everything
