from __future__ import annotations

import numpy as np
import pytest
import torch

from lorkit.decompose.documents.scores import MultilabelScores
from lorkit.decompose.regions import Region
from lorkit.decompose.tasks import get_task, headline, headline_name
from lorkit.decompose.tasks.losses import masked_binary_cross_entropy, softened_binary_kl

CHEST = Region(name="chest", task="multilabel", classes=("effusion", "nodule"))
TASK = get_task("multilabel")


def reference(logits: torch.Tensor, labels: torch.Tensor, smoothing: float, weight: torch.Tensor) -> torch.Tensor:
    """The loss, label by label, from probabilities."""
    rows = []
    for logit_L, label_L in zip(logits, labels, strict=True):
        values = []
        for logit, label, factor in zip(logit_L, label_L, weight, strict=True):
            if label < 0:
                continue
            share, target = 1 / (1 + torch.exp(-logit)), float(label) * (1 - smoothing) + smoothing / 2
            values.append(-factor * target * torch.log(share) - (1 - target) * torch.log(1 - share))
        rows.append(torch.stack(values).mean() if values else 0 * logit_L.sum())
    return torch.stack(rows)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_loss_and_gradient_are_those_of_the_known_labels(smoothing: float) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(6, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    labels = torch.randint(-1, 2, (6, 4), generator=generator)
    labels[5] = -1
    weight = torch.tensor([1.0, 2.0, 0.5, 7.0], dtype=torch.float64)
    found, wanted = (loss(logits, labels, smoothing, weight) for loss in (masked_binary_cross_entropy, reference))
    torch.testing.assert_close(found, wanted)
    assert found[5] == 0
    gradients = [torch.autograd.grad(value.sum(), logits)[0] for value in (found, wanted)]
    torch.testing.assert_close(*gradients)
    assert not gradients[0][labels < 0].any()


def test_the_divergence_is_that_of_yes_and_no_of_each_label() -> None:
    generator = torch.Generator().manual_seed(1)
    student, teacher = torch.randn(2, 5, 3, generator=generator, dtype=torch.float64)
    student.requires_grad_()
    p, q = torch.sigmoid(teacher / 2), torch.sigmoid(student / 2)
    wanted = 4 * (p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()).mean(1)
    found = TASK.divergence(student, teacher, 2.0)
    torch.testing.assert_close(found, wanted)
    gradients = [torch.autograd.grad(value.sum(), student, retain_graph=True)[0] for value in (found, wanted)]
    torch.testing.assert_close(*gradients)
    assert softened_binary_kl(teacher, teacher, 2.0).abs().max() < 1e-12


def test_half_precision_is_computed_in_float32() -> None:
    logits, labels = torch.zeros(1, 2).bfloat16(), torch.ones(1, 2).long()
    assert masked_binary_cross_entropy(logits, labels).dtype == torch.float32
    assert softened_binary_kl(logits, logits, 1.0).dtype == torch.float32


def test_a_mixed_batch_gives_each_task_its_own_targets() -> None:
    label = torch.tensor([[1, 0, -1, -1], [2, -1, -1, -1], [0, 1, 2, 255]])
    assert TASK.own_targets(label[:1], torch.zeros(1, 2)).tolist() == [[1, 0]]
    one, masks = get_task("classification"), get_task("segmentation")
    assert one.own_targets(label[1:2], torch.zeros(1, 3)).tolist() == [2]
    assert one.own_targets(torch.tensor([1, 2]), torch.zeros(2, 3)).tolist() == [1, 2]
    assert masks.own_targets(label[2:], torch.zeros(1, 3, 2, 2)).tolist() == [[[0, 1], [2, 255]]]
    assert masks.own_targets(label[None], torch.zeros(1, 3, 3, 4)) is not None


def test_thresholds_come_from_validation_and_are_only_used_on_test() -> None:
    rng = np.random.default_rng(0)
    val, test = ((rng.random((60, 2)) < 0.4).astype(np.int64) for _ in range(2))
    decision = TASK.decide(CHEST, val, 2.0 * val - 3.0, None)
    assert decision is not None
    assert (decision.policy, decision.split) == ("youden", "val")
    assert decision.limits(CHEST.classes) == pytest.approx([1 / (1 + np.exp(2))] * 2)
    assert decision.cuts(CHEST.classes) == pytest.approx([-2.0, -2.0])
    found = TASK.scores(CHEST, test, 2.0 * test - 1.5, [str(at) for at in range(60)], decision=decision)
    assert isinstance(found, MultilabelScores)
    row = found.labels["effusion"]
    assert row.threshold == decision.thresholds["effusion"]
    assert (row.sensitivity, row.specificity) == (1.0, 0.0)  # test scores are higher: nothing is chosen on them


def test_the_headline_is_the_macro_auroc() -> None:
    rng = np.random.default_rng(0)
    label, logit = (rng.random((50, 2)) < 0.5).astype(np.int64), rng.normal(size=(50, 2))
    found = TASK.scores(CHEST, label, logit, [str(at) for at in range(50)])
    assert headline(TASK.scores_by_case(CHEST, label, logit)) == pytest.approx(found.auroc)
    assert found.value("headline") == found.auroc == found.value(TASK.headline)


def test_regions_of_two_tasks_have_a_headline_of_their_own_each() -> None:
    knee = Region(name="knee", classes=("a", "b"))
    assert headline_name([CHEST]) == "auroc"
    assert headline_name([CHEST, knee]) == "headline"
