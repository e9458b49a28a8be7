"""A small drop proves nothing where a loss cannot be seen: chance, classes that are never answered, least values."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sample_documents import accuracy

from lorkit.decompose.artifacts.arrays import Float32Array
from lorkit.decompose.regions import Region
from lorkit.export.noninferiority.explanation import explain_accuracy
from lorkit.export.noninferiority.multiplicity import adjust_judged
from lorkit.export.noninferiority.sides import Sides

EYES = Region(name="eye", classes=("a", "b", "c"))
MASKS = Region(name="eye", task="segmentation", classes=("disc", "cup"))


def logits(answers: Any, classes: int = 3) -> Float32Array:
    return np.eye(classes, dtype=np.float32)[np.asarray(answers)]


def sides(baseline: Any, candidate: Any, targets: Any, region: Region = EYES) -> Sides:
    groups = [f"p{index}" for index in range(len(targets))]
    return Sides(region=region, targets=(targets, targets), score_inputs=(baseline, candidate), groups=groups)


def test_a_baseline_that_answers_one_class_is_at_chance_and_the_classes_it_hides_are_named() -> None:
    truth = np.arange(60) % 3
    found = sides(logits(0 * truth), logits(np.minimum(truth, 1)), truth).findings()
    assert found["at_chance"]
    assert found["chance"] == pytest.approx(1 / 3)
    assert found["never_answered"] == {"baseline": ["b", "c"], "candidate": ["c"]}
    good = sides(logits(truth), logits(truth), truth).findings()
    assert (good["at_chance"], good["never_answered"]) == (False, {})


def test_a_class_that_no_case_shows_need_not_be_answered() -> None:
    truth = np.arange(40) % 2
    assert sides(logits(truth), logits(truth), truth).findings()["never_answered"] == {}


def test_a_structure_that_is_never_drawn_is_named_although_other_structures_are() -> None:
    both, one = np.array([[[9, 10, 9], [5, 5, 6]]] * 8), np.array([[[9, 10, 9], [0, 0, 6]]] * 8)
    found = sides(both, one, np.zeros(8), MASKS).findings()
    assert (found["chance"], found["never_answered"]) == (None, {"candidate": ["cup"]})


@pytest.mark.parametrize(("share", "verdict"), [(1.0, "pass"), (0.5, "fail"), (0.85, "inconclusive")])
def test_least_values_pass_above_their_interval_fail_below_and_are_open_inside(share: float, verdict: str) -> None:
    truth = np.arange(60) % 3
    right = np.arange(60) // 3 < 20 * share
    answers = np.where(right, truth, (truth + 1) % 3)
    floors = sides(logits(truth), logits(answers), truth).floors(0.8, 0.8 if verdict != "pass" else 0.7)
    assert [floor.name for floor in floors] == ["balanced_accuracy", "recall of a", "recall of b", "recall of c"]
    assert {floor.verdict for floor in floors[:1]} == {verdict}
    assert floors[0].value == pytest.approx(share)
    assert (floors[0].needed_groups is not None) == (verdict == "inconclusive")
    block = accuracy(verdict="inconclusive", floors=floors)
    assert adjust_judged([block])[0].verdict == verdict


def test_recall_of_a_structure_is_the_share_of_its_pixels() -> None:
    counts = np.array([[[5, 9, 10], [0, 3, 0]], [[10, 10, 10], [4, 4, 8]]])
    found = sides(counts, counts, np.zeros(2), MASKS).floors(None, 0.5)
    assert [floor.value for floor in found] == [0.75, 0.5]


@pytest.mark.parametrize(
    "blocked", [{"at_chance": True, "chance": 0.5, "baseline_ci": [0.4, 0.9]}, {"never_answered": {"candidate": ["c"]}}]
)
def test_what_hides_a_loss_prevents_pass_but_not_fail(blocked: dict[str, Any]) -> None:
    (shown,) = adjust_judged([accuracy(**blocked)])
    assert shown.verdict == "inconclusive"
    assert "so no PASS" in explain_accuracy(shown)[-1]
    (lost,) = adjust_judged([accuracy(**blocked, p_worse=0.001, ci=[0.1, 0.3], drop=0.2)])
    assert lost.verdict == "fail"
    assert adjust_judged([accuracy(**blocked, identical="outputs")])[0].verdict == "inconclusive"
    (same,) = adjust_judged([accuracy(**blocked, identical="file")])
    assert same.verdict == "pass"
    assert "by construction" in explain_accuracy(same)[0]


def test_equal_outputs_in_few_cases_are_no_drop() -> None:
    few = {"ci": [0.0, 0.4], "absent": ["c"]}
    assert adjust_judged([accuracy(**few)])[0].verdict == "inconclusive"
    (found,) = adjust_judged([accuracy(**few, identical="outputs")])
    assert found.verdict == "pass"
    assert "equal outputs in every case: the drop is 0 by construction" in explain_accuracy(found)[0]
