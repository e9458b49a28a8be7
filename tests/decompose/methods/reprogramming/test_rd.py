"""RD: what each term trains, how the terms fade, and that the teacher never moves."""

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
from lorkit.decompose.methods.reprogramming.base import decayed
from lorkit.decompose.methods.reprogramming.rd import FeatureReprogramming
from lorkit.decompose.models.foundation.model import Foundation
from lorkit.decompose.regions import Region, RegionSet
from lorkit.decompose.tasks.losses import Terms, total

pytestmark = pytest.mark.usefixtures("tiny")
ONE = RegionSet([Region(name="a", classes=("x", "y", "z"))])


def make(*settings: str) -> tuple[Config, FeatureReprogramming, Foundation]:
    """Return RD's module of a tiny ResNet under a wider one, in float64 and eval."""
    small = ("image.size=16", "student.backbone=tiny_resnet", "foundation.backbone=tiny_resnet_wide")
    config = default_config(overrides=["regions={a: {data: x}}", *small, *settings])
    torch.manual_seed(0)
    name = config.foundation.backbone
    teacher = shared_network(config, name, ONE).double().eval().requires_grad_(False)
    foundation = Foundation(model=teacher, backbone=name, regions=ONE, heads={"a": "own"}, image={}, source={})
    module = get_method("rd").build(config, ONE, foundation).double().eval()
    assert isinstance(module, FeatureReprogramming)
    return config, module, foundation


def batch(count: int = 6) -> Batch:
    image = torch.rand(count, 1, 16, 16, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    region = torch.zeros(count, dtype=torch.int64)
    return Batch(image=image, label=torch.arange(count) % 3, region=region, sample=torch.arange(count))


def touched(module: FeatureReprogramming, loss: Tensor) -> set[str]:
    """Return which parts of the module a loss trains."""
    module.zero_grad(set_to_none=True)
    loss.backward()
    named = ((name, one.grad) for name, one in module.named_parameters())
    return {
        name.split(".")[1 if name.startswith("live") else 0] for name, grad in named if grad is not None and grad.any()
    }


def numbers(terms: Terms) -> dict[str, float]:
    return {name: float(value["a"].detach()) for name, value in terms.items()}


def test_every_term_is_the_formula_on_the_shared_classifier() -> None:
    _, module, foundation = make("rd.kd.temperature=2", "train.label_smoothing=0.1")
    given = batch()
    answers = module.query_teacher(foundation.model, given)
    terms = numbers(module(given, answers))
    output = module.live(given.image, given.region)
    r, s, head = module.reprogrammer(answers.features), output.features["a"], module.live.heads["a"]
    kl = (F.softmax(head(r) / 2, 1) * (F.log_softmax(head(r) / 2, 1) - F.log_softmax(head(s) / 2, 1))).sum(1)
    assert terms == pytest.approx(
        {
            "ce": F.cross_entropy(head(s), given.label, label_smoothing=0.1).item(),
            "hybrid": F.cross_entropy(head(r), given.label, label_smoothing=0.1).item(),
            "kd": 4 * kl.mean().item(),
            "cka": -cka(s, r).item(),
        },
        abs=1e-10,
    )


def test_who_learns_from_what() -> None:
    _, module, foundation = make()
    given = batch()
    answers = module.query_teacher(foundation.model, given)

    def of(term: str) -> set[str]:
        return touched(module, total({term: module(given, answers)[term]}))

    assert of("ce") == {"backbone", "heads"}
    assert of("hybrid") == {"reprogrammer", "heads"}, "the student's body is not in this path"
    assert of("kd") == {"backbone", "heads"}, "the reprogrammed logits teach without being taught"
    assert of("cka") == {"backbone", "reprogrammer"}
    _, module, _ = make("rd.kd_detach=false", "rd.cka.detach=true")
    assert of("kd") == {"backbone", "heads", "reprogrammer"}
    assert of("cka") == {"backbone"}
    assert all(parameter.grad is None for parameter in foundation.model.parameters())


def test_hybrid_and_kd_fade_and_the_others_stay() -> None:
    _, module, foundation = make("rd.decay=linear", "rd.decay_end=0.2")
    given = batch()
    answers = module.query_teacher(foundation.model, given)
    start = numbers(module(given, answers))
    for progress, share in ((0.5, 0.6), (1.0, 0.2)):
        module.progress = progress
        found = numbers(module(given, answers))
        wanted = {name: value * (share if name in ("hybrid", "kd") else 1.0) for name, value in start.items()}
        assert found == pytest.approx(wanted)
    config, _, _ = make()
    assert decayed(config.rd, 1.0) == 1.0


def test_a_batch_too_small_for_alignment_trains_the_rest() -> None:
    _, module, foundation = make("rd.cka.estimator=unbiased")
    given = batch(3)
    terms = module(given, module.query_teacher(foundation.model, given))
    assert numbers(terms)["cka"] == 0.0
    assert module.cka.skipped == 1
    assert numbers(terms)["hybrid"] > 0


def test_terms_that_are_off_are_announced_and_absent() -> None:
    config, module, foundation = make("rd.hybrid=0", "rd.kd.weight=0", "rd.cka.weight=0")
    given = batch()
    assert set(module(given, module.query_teacher(foundation.model, given))) == {"ce"}
    assert len(get_method("rd").notices(config)) == 3
    assert get_method("rd").notices(make()[0]) == []


def test_without_a_teacher_it_refuses() -> None:
    config, _, _ = make()
    with pytest.raises(UsageError, match="reprogramming without a foundation"):
        get_method("rd").build(config, ONE, None)


def test_the_reprogrammer_does_not_depend_on_the_length_of_the_features() -> None:
    _, module, foundation = make()
    features = foundation.model.features(batch().image, "a")
    features = features / features.std()  # far above the epsilon of the norm
    torch.testing.assert_close(module.reprogrammer(1e3 * features), module.reprogrammer(features), rtol=1e-4, atol=1e-4)
