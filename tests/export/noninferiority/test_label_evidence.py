from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from counted_ranking import pair_auroc

from lorkit.decompose.regions import Region
from lorkit.export.noninferiority.label_evidence import LabelEvidence

REGION = Region(name="chest", task="multilabel", classes=("effusion", "nodule"))


@pytest.fixture
def evidence() -> LabelEvidence:
    rng = np.random.default_rng(0)
    labels = (rng.random((60, 2)) < 0.4).astype(np.int64)
    labels[:20, 1] = -1
    logits = [rng.normal(size=(60, 2)) + effect * labels for effect in (2.0, 0.5)]
    prepared: Any = SimpleNamespace(
        labels=labels,
        region=REGION,
        groups=tuple(f"p{at // 2}" for at in range(60)),
        digests=tuple(map(str, range(60))),
    )
    return LabelEvidence(prepared, *logits, seed=0)


def area(evidence: LabelEvidence, logits: np.ndarray, column: int) -> float:
    known = evidence.prepared.labels[:, column] >= 0
    return pair_auroc((evidence.prepared.labels[known, column] == 1).tolist(), logits[known, column].tolist())


def test_the_drop_is_that_of_the_macro_auroc_and_of_each_label(evidence: LabelEvidence) -> None:
    sides = (evidence.baseline_NL, evidence.candidate_NL)
    whole, nodule = evidence.compare(slice(None)), evidence.compare(slice(None), slice(1, 2))
    assert whole is not None
    assert nodule is not None
    means = [np.mean([area(evidence, side, column) for column in (0, 1)]) for side in sides]
    assert (whole.baseline, whole.candidate, whole.drop) == pytest.approx((*means, means[0] - means[1]))
    assert nodule.drop == pytest.approx(area(evidence, sides[0], 1) - area(evidence, sides[1], 1))
    assert (whole.n, nodule.n, nodule.groups) == (60, 40, 20)
    assert whole.ci[0] < whole.drop < whole.ci[1]


def test_cases_without_both_answers_are_not_judged(evidence: LabelEvidence) -> None:
    positive = np.flatnonzero(evidence.prepared.labels[:20, 0] == 1).tolist()
    assert evidence.compare(positive) is None
    assert evidence.absent(positive) == ["effusion", "nodule"]
    assert evidence.absent(slice(None)) == []


def test_a_network_against_itself_has_no_drop_and_no_flipped_case(evidence: LabelEvidence) -> None:
    same = LabelEvidence(evidence.prepared, evidence.baseline_NL, evidence.baseline_NL, 0)
    found = same.compare(slice(None))
    assert found is not None
    assert found.drop == 0
    assert same.flipped_cases() == 0
    flipped = (evidence.baseline_NL >= 0) != (evidence.candidate_NL >= 0)
    assert evidence.flipped_cases() == int(flipped.any(1).sum())
