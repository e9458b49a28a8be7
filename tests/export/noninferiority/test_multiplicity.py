from __future__ import annotations

from typing import Any

import pytest
from sample_documents import CASES, accuracy, flip, subset, undecided

from lorkit.decompose.documents.gate import JudgedAccuracy
from lorkit.export.noninferiority.explanation import explain_accuracy
from lorkit.export.noninferiority.multiplicity import adjust_for_multiplicity, adjust_judged


def block(p_worse: float = 1.0, *, high: float = 0.01, **more: Any) -> JudgedAccuracy:
    found = {"drop": 0.01, "ci": [0.0, high], "candidate": 0.89, "decidable": 0.03, "p_within": 0.01}
    return accuracy(verdict="inconclusive", p_worse=p_worse, **found | more)


def test_a_loss_counts_against_all_regions_that_were_asked_about() -> None:
    (alone,) = adjust_judged([block(0.03, high=0.09)])
    assert alone.verdict == "fail"
    both = adjust_judged([block(0.03, high=0.09), block()])
    assert [one.verdict for one in both] == ["inconclusive", "pass"]
    assert both[0].p_worse_holm == pytest.approx(0.06)
    still = adjust_judged([block(0.02, high=0.09), block()])
    assert still[0].verdict == "fail"


def test_a_region_fails_for_a_subgroup_and_passes_without_proof_of_all_unless_strict() -> None:
    parts = [subset("f"), subset("m", within=0.6)]
    (loose,), (strict,) = (
        adjust_judged([block(subgroups=parts)]),
        adjust_judged([block(subgroups=parts, strict=True)]),
    )
    assert [row.verdict for row in loose.subgroups] == ["pass", "inconclusive"]
    assert (loose.verdict, strict.verdict) == ("pass", "inconclusive")
    assert "With --strict-subgroups all must be within it" in " ".join(explain_accuracy(strict))
    (failed,) = adjust_judged([block(subgroups=[subset("f"), subset("m", worse=0.02)])])
    assert failed.verdict == "fail"
    assert "larger drop: sex=m" in " ".join(explain_accuracy(failed))


def test_what_no_case_shows_is_never_passed() -> None:
    (lacking,) = adjust_judged([block(absent=["bright"])])
    assert lacking.verdict == "inconclusive"
    assert "No case shows bright" in " ".join(explain_accuracy(lacking))
    (failed,) = adjust_judged([block(0.01, high=0.09, absent=["bright"])])
    assert failed.verdict == "fail"
    (row,) = adjust_judged([block(subgroups=[subset("f", absent=["dark"])])])[0].subgroups
    assert row.verdict == "inconclusive"


def test_parts_of_all_regions_are_one_family() -> None:
    regions = [block(subgroups=[subset("m", worse=0.02)]), block(structures=[subset("tip"), subset("base")])]
    assert adjust_judged(regions)[0].subgroups[0].p_worse_holm == pytest.approx(0.06)
    assert adjust_judged(regions)[0].verdict == "pass"
    assert regions[0].subgroups[0].to_json() == subset("m", worse=0.02)  # what was given stays


def test_what_judged_nothing_stays_as_it_is() -> None:
    empty = undecided()
    assert adjust_for_multiplicity([empty, block()])[0] == empty
    assert adjust_for_multiplicity([empty, block(0.01, high=0.09)])[1].verdict == "fail"
    unseen = subset("tip", worse=None, within=None, verdict="not_judged", drop=None, ci=None)
    (row,) = adjust_judged([block(structures=[unseen])])[0].structures
    assert row.to_json() == unseen


def test_the_sentences_name_numbers_left_out_cases_and_contradictions() -> None:
    excluded = {"baseline": 7, "candidate": 0, "same_patients": 3}
    about = {**CASES, "n": 90, "excluded": excluded, "unknown": ["candidate"]}
    changes = {"improved": 1, "worsened": 9, "wrong either way": 0}
    (found,) = adjust_judged([block(mcnemar_p=0.02, flips=[flip()] * 10, changes=changes, case_set=about)])
    said = " ".join(explain_accuracy(found))
    assert "10 of 90 cases changed: 1 improved, 9 worsened." in said
    assert "Excluded cases: 7 that the baseline was trained on, 3 other images of the same patients." in said
    assert "unknown whether the candidate was trained on these cases" in said
    assert "more cases worsened than improved" in said
    (open_,) = adjust_judged([block(high=0.05)])
    assert "About 150 patients would decide whether a drop of 0.010 is allowed" in explain_accuracy(open_)[0]
    (close,) = adjust_judged([block(high=0.05, needed_n=None)])
    assert "so close to it that no reasonable number of patients decides" in explain_accuracy(close)[0]
    (lost,) = adjust_judged([block(0.01, high=0.09)])
    assert "finds no difference" in " ".join(explain_accuracy(lost))


def test_a_pass_on_dice_says_what_it_excludes() -> None:
    (found,) = adjust_judged([block(metric="dice", unseen_loss=0.2, groups=36)])
    said = explain_accuracy(found)
    # 0.02 / 0.2 of the patients; 1 - 0.025^(1/36) = 0.0974
    assert said[1].startswith("This excludes that 10.0% of the patients lose 0.20. With 36 patients, a loss in fewer")
    assert said[1].endswith("than 9.7% of them can be unseen.")
    (all_,) = adjust_judged([block(metric="dice", unseen_loss=1.0)])
    (open_,) = adjust_judged([block(metric="dice", unseen_loss=0.2, high=0.05)])
    for other in (all_, open_):
        assert "This excludes" not in " ".join(explain_accuracy(other))
