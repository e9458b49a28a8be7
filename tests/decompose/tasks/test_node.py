from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from lorkit.decompose.documents.network import RegionInfo
from lorkit.decompose.documents.scores import NodeScores
from lorkit.decompose.errors import UsageError
from lorkit.decompose.metrics import node
from lorkit.decompose.regions import Region, RegionSet
from lorkit.decompose.tasks import get_task, headline, headline_name

ACCOUNTS = Region(name="accounts", task="node", classes=("honest", "fraud"))
KINDS = Region(name="kinds", task="node", classes=("a", "b", "c"))
TASK = get_task("node")


def drawn(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, list[str]]:
    rng = np.random.default_rng(seed)
    label_N = (rng.random(count) < 0.2).astype(np.int64)
    logit_N2 = rng.normal(size=(count, 2)).astype(np.float32)
    logit_N2[:, 1] += 2.0 * label_N - 1.5
    return label_N, logit_N2, [str(at // 2) for at in range(count)]


def test_the_loss_is_cross_entropy_of_one_softmax() -> None:
    logits, target = torch.randn(5, 2, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 1, 0, 1])
    torch.testing.assert_close(TASK.loss(logits, target), F.cross_entropy(logits, target, reduction="none"))
    assert (TASK.outputs(ACCOUNTS), TASK.exclusive, TASK.dense) == (2, True, False)


def test_compared_figures_keep_the_recall_among_stated_nodes() -> None:
    label_N, logit_N2, groups = drawn(200)
    region = replace(ACCOUNTS, recall_at=(0.05, 30))
    found = TASK.scores(region, label_N, logit_N2, groups)
    assert [(row.at, row.k) for row in found.figures.recall_at] == [(0.05, 10), (30, 30)]
    assert found.figures.to_json()["recall_at_k"] == found.recall_at[0].recall
    (stored,) = RegionSet.from_json(json.loads(json.dumps(RegionSet([region]).to_json())))
    assert stored == region
    assert RegionInfo(**RegionInfo.describing(region), synthetic=False).as_region() == region
    (older,) = RegionSet.from_json([{"name": "accounts", "task": "node", "classes": ["honest", "fraud"]}])
    assert older.recall_at == ()


def test_the_headline_is_average_precision_by_every_way() -> None:
    label_N, logit_N2, groups = drawn(200)
    found = TASK.scores(ACCOUNTS, label_N, logit_N2, groups)
    assert isinstance(found, NodeScores)
    assert headline_name([ACCOUNTS]) == TASK.validation == "ap"
    for value in (
        headline(TASK.scores_by_case(ACCOUNTS, label_N, logit_N2)),
        TASK.rate(ACCOUNTS, label_N, logit_N2, groups).value,
        TASK.paired(ACCOUNTS, label_N, (logit_N2, -logit_N2), groups).baseline,
        found.value("headline"),
    ):
        assert value == pytest.approx(found.ap)
    assert found.groups == 100
    assert found.cases == {"honest": int((label_N == 0).sum()), "fraud": int(label_N.sum())}
    assert set(TASK.metrics) <= set(found.ci)


def test_the_decision_comes_from_validation_and_sets_the_answers() -> None:
    label_N, logit_N2, groups = drawn(400)
    decision = TASK.decide(ACCOUNTS, label_N, 2 * logit_N2, {"precision": 0.6})
    assert decision is not None
    limit = decision.thresholds["fraud"]
    assert limit is not None
    assert (decision.policy, decision.split, decision.notes) == ("precision 0.6", "val", [])
    test_N, other_N2, _ = drawn(400, seed=1)
    found = TASK.scores(ACCOUNTS, test_N, 2 * other_N2, groups, decision=decision)
    assert isinstance(found, NodeScores)
    assert found.labels["fraud"].threshold == limit
    assert decision.temperature is not None
    share_N = torch.from_numpy(2 * other_N2 / decision.temperature).softmax(1)[:, 1].numpy()
    said_N = share_N >= limit
    assert [row[1] for row in found.confusion] == [int((said_N & (test_N == kind)).sum()) for kind in (0, 1)]
    assert found.labels["fraud"].sensitivity == pytest.approx(said_N[test_N == 1].mean())


def test_offsets_make_the_largest_logit_the_answer_of_the_threshold() -> None:
    label_N, logit_N2, _ = drawn(300)
    decision = TASK.decide(ACCOUNTS, label_N, logit_N2, {"cost": 10.0})
    assert decision is not None
    info = RegionInfo(region="accounts", task="node", classes=list(ACCOUNTS.classes), decision=decision)
    assert info.cuts is None  # those of labels that do not exclude each other
    assert info.offsets is not None
    wanted_N = node.answers(logit_N2, decision.thresholds["fraud"], decision.temperature or 1.0)
    np.testing.assert_array_equal((logit_N2 - np.asarray(info.offsets)).argmax(1), wanted_N)
    assert (wanted_N != logit_N2.argmax(1)).any()
    assert RegionInfo(region="accounts", task="node", classes=["honest", "fraud"]).offsets is None


def test_a_precision_that_none_reaches_is_said() -> None:
    label_N = np.array([1, 0, 0, 1, 0])
    logit_N2 = np.stack([0 * label_N, np.array([-2.0, 2.0, 1.0, 0.0, -1.0])], axis=1)
    decision = TASK.decide(ACCOUNTS, label_N, logit_N2, {"precision": 0.9})
    assert decision is not None
    assert decision.thresholds == {"fraud": None}
    assert decision.notes == ["fraud: no threshold has a precision of 0.9 on validation (highest 0.400)"]
    found = TASK.scores(ACCOUNTS, label_N, logit_N2, list("abcde"), decision=decision)
    assert found.value("f1_macro") is not None  # of the most probable class


def test_more_than_two_classes_have_no_threshold() -> None:
    label_N, logit_N3 = np.arange(30) % 3, np.random.default_rng(0).normal(size=(30, 3))
    with pytest.raises(UsageError, match="region 'kinds' of 3 classes states threshold"):
        TASK.decide(KINDS, label_N, logit_N3, "f1")
    decision = TASK.decide(KINDS, label_N, logit_N3, None)
    assert decision is not None
    assert (decision.thresholds, decision.policy) == ({}, "most probable")
    found = TASK.scores(KINDS, label_N, logit_N3, [str(at) for at in range(30)], decision=decision)
    assert isinstance(found, NodeScores)
    assert np.trace(found.confusion) == (logit_N3.argmax(1) == label_N).sum()
    assert TASK.chance(KINDS, label_N) == pytest.approx(1 / 3)


def test_thresholds_of_other_tasks() -> None:
    image = Region(name="brain", classes=("a", "b"))
    with pytest.raises(UsageError, match="region 'brain' of task classification states threshold"):
        get_task("classification").check_policy(image, 0.5)
    get_task("classification").check_policy(image, None)
    get_task("multilabel").check_policy(Region(name="c", task="multilabel", classes=("x",)), {"cost": 2.0})


def test_chance_and_wrong_outputs_are_the_share_and_the_worst_order() -> None:
    label_N, _, groups = drawn(200)
    assert TASK.chance(ACCOUNTS, label_N) == pytest.approx(label_N.mean())
    flat = TASK.scores(ACCOUNTS, label_N, np.zeros((200, 2)), groups)
    assert flat.value("ap") == pytest.approx(label_N.mean())
    wrong = TASK.wrong_outputs(ACCOUNTS, label_N)
    right = TASK.paired(ACCOUNTS, label_N, (-wrong, wrong), groups)
    assert right.baseline == 1.0
    assert right.candidate == pytest.approx(label_N.mean())  # all negatives are above all positives, in two levels
    assert not TASK.answered(ACCOUNTS, wrong).any()
    assert TASK.recalls_by_case(ACCOUNTS, label_N, -wrong)[label_N == 1, 1].all()
    bound, more = (TASK.unseen_bound(ACCOUNTS, label_N[:count], groups[:count]) for count in (200, 100))
    assert 0 < bound < more < 1
