"""The accuracy test in sentences."""

from __future__ import annotations

from typing import Any

import pytest
from sample_documents import CASES, accuracy, flip

from lorkit.decompose.documents.gate import JudgedAccuracy
from lorkit.export.noninferiority.explanation import explain_accuracy
from lorkit.export.noninferiority.multiplicity import adjust_judged


def block(p_worse: float = 1.0, *, high: float = 0.01, **more: Any) -> JudgedAccuracy:
    found = {"drop": 0.01, "ci": [0.0, high], "candidate": 0.89, "decidable": 0.03, "p_within": 0.01}
    return accuracy(verdict="inconclusive", p_worse=p_worse, **found | more)


def test_the_sentences_name_numbers_left_out_cases_and_contradictions() -> None:
    excluded = {"baseline": 7, "candidate": 0, "same_patients": 3}
    about = {**CASES, "n": 90, "excluded": excluded, "unknown": ["candidate"]}
    changes = {"improved": 1, "worsened": 9, "wrong either way": 0}
    (found,) = adjust_judged([block(mcnemar_p=0.02, changed_answers=[flip()] * 10, changes=changes, case_set=about)])
    said = " ".join(explain_accuracy(found))
    assert "10 of 90 cases changed: 1 improved, 9 worsened." in said
    assert "Excluded cases: 7 that the baseline was trained on, 3 other images of the same patients." in said
    assert "unknown whether the candidate was trained on these cases" in said
    assert "more cases worsened than improved" in said
    (open_,) = adjust_judged([block(high=0.05, needed_groups=150, unit="patient")])
    assert "About 150 patients would decide whether a drop of 0.010 is allowed" in explain_accuracy(open_)[0]
    (close,) = adjust_judged([block(high=0.05, needed_groups=None)])
    assert "so close to it that no reasonable number of cases decides" in explain_accuracy(close)[0]
    (lost,) = adjust_judged([block(0.01, high=0.09)])
    assert "finds no difference" in " ".join(explain_accuracy(lost))


@pytest.mark.parametrize(
    ("drop", "ci", "said"),
    [
        (-0.167, [-0.25, -0.08], "gains 0.167, from 0.700 to 0.867 (95 % interval: a gain of 0.250 to 0.080; "),
        (0.167, [-0.08, 0.25], "loses 0.167, from 0.867 to 0.700 (95 % interval: a gain of 0.080 to a drop of 0.250; "),
        (0.0, [0.0, 0.004], "does not change, at 0.700 (95 % interval: no change to a drop of 0.004; "),
        (0.0, [0.0, 0.0], "does not change, at 0.700 (95 % interval: no change; "),
    ],
)
def test_gains_and_drops_are_said_in_words(drop: float, ci: list[float], said: str) -> None:
    baseline = 0.867 if drop > 0 else 0.7
    sentence = explain_accuracy(block(drop=drop, ci=ci, baseline=baseline, candidate=baseline - drop))[0]
    assert sentence.startswith(f"Balanced accuracy {said}")
    assert "A drop of up to 0.020 is allowed" in sentence
    assert "-" not in sentence


@pytest.mark.parametrize(
    ("drop", "said"),
    [
        (0.01, "About 30 patients would decide whether a drop of 0.010 is allowed."),
        (0.0, "About 30 patients would exclude a larger drop if balanced accuracy still does not change."),
        (-0.167, "About 30 patients would exclude a larger drop if balanced accuracy still gains 0.167."),
    ],
)
def test_the_number_of_patients_that_decides_a_gain_is_said_of_a_gain(drop: float, said: str) -> None:
    (open_,) = adjust_judged([block(drop=drop, ci=[-0.3, 0.08], needed_groups=30, unit="patient")])
    assert explain_accuracy(open_)[0].endswith(said)


@pytest.mark.parametrize(
    ("value", "needed", "said"),
    [
        (0.8, 40, "the least value of 0.850. About 40 patients would decide it."),
        (0.85, None, "The value is so close to it that no reasonable number of cases decides."),
        (
            None,
            None,
            "recall of x (no case shows it): the interval contains the least value of 0.850. Add cases that show it.",
        ),
    ],
)
def test_an_undecided_least_value_says_what_would_decide_it(value: float | None, needed: int | None, said: str) -> None:
    floor = {"name": "recall of x", "value": value, "ci": [0.7, 0.9], "minimum": 0.85, "verdict": "inconclusive"}
    (open_,) = adjust_judged([block(floors=[floor | {"needed_groups": needed}], unit="patient")])
    assert open_.verdict == "inconclusive"
    assert explain_accuracy(open_)[-1].endswith(said)


def test_an_open_drop_of_nodes_states_the_effective_number_of_entities() -> None:
    about = {"metric": "ap", "groups": 2231, "unit": "entity", "effective_groups": 4.8, "high": 0.4}
    (found,) = adjust_judged([block(**about)])
    (said,) = [text for text in explain_accuracy(found) if "count like" in text]
    assert said == (
        "2231 entities count like 5 of equal weight: AP would lose 0.208 if the one that weighs most were all wrong,"
        " and the next one may be."
    )
    for other in ({"high": 0.01}, {"identical": "file"}, {"effective_groups": None}):
        (settled,) = adjust_judged([block(**about | other)])
        assert not any("count like" in text for text in explain_accuracy(settled))


def test_a_pass_on_dice_says_what_it_excludes() -> None:
    (found,) = adjust_judged([block(metric="dice", unseen_loss=0.2, groups=36, unit="patient")])
    said = explain_accuracy(found)
    # 0.02 / 0.2 of the patients; 1 - 0.025^(1/36) = 0.0974
    assert said[1].startswith("This excludes that 10.0% of the patients lose 0.20. With 36 patients, a loss in fewer")
    assert said[1].endswith("than 9.7% of them can be unseen.")
    (all_,) = adjust_judged([block(metric="dice", unseen_loss=1.0)])
    (open_,) = adjust_judged([block(metric="dice", unseen_loss=0.2, high=0.05)])
    (same,) = adjust_judged([block(metric="dice", unseen_loss=0.2, identical="file")])
    for other in (all_, open_, same):
        assert "This excludes" not in " ".join(explain_accuracy(other))
