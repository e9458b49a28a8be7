from __future__ import annotations

from typing import Any

import pytest
from sample_documents import accuracy, subset, undecided

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
        adjust_judged([block(by_subgroup=parts)]),
        adjust_judged([block(by_subgroup=parts, strict=True)]),
    )
    assert [row.verdict for row in loose.by_subgroup] == ["pass", "inconclusive"]
    assert (loose.verdict, strict.verdict) == ("pass", "inconclusive")
    assert "With --strict-subgroups all must be within it" in " ".join(explain_accuracy(strict))
    (failed,) = adjust_judged([block(by_subgroup=[subset("f"), subset("m", worse=0.02)])])
    assert failed.verdict == "fail"
    assert "larger drop: sex=m" in " ".join(explain_accuracy(failed))


def test_what_no_case_shows_is_never_passed() -> None:
    (lacking,) = adjust_judged([block(absent=["bright"])])
    assert lacking.verdict == "inconclusive"
    assert "No case shows bright" in " ".join(explain_accuracy(lacking))
    (failed,) = adjust_judged([block(0.01, high=0.09, absent=["bright"])])
    assert failed.verdict == "fail"
    (row,) = adjust_judged([block(by_subgroup=[subset("f", absent=["dark"])])])[0].by_subgroup
    assert row.verdict == "inconclusive"


def test_parts_of_all_regions_are_one_family() -> None:
    regions = [block(by_subgroup=[subset("m", worse=0.02)]), block(by_structure=[subset("tip"), subset("base")])]
    assert adjust_judged(regions)[0].by_subgroup[0].p_worse_holm == pytest.approx(0.06)
    assert adjust_judged(regions)[0].verdict == "pass"
    assert regions[0].by_subgroup[0].to_json() == subset("m", worse=0.02)  # what was given stays


def test_what_judged_nothing_stays_as_it_is() -> None:
    empty = undecided()
    assert adjust_for_multiplicity([empty, block()])[0] == empty
    assert adjust_for_multiplicity([empty, block(0.01, high=0.09)])[1].verdict == "fail"
    unseen = subset("tip", worse=None, within=None, verdict="not_judged", drop=None, ci=None)
    (row,) = adjust_judged([block(by_structure=[unseen])])[0].by_structure
    assert row.to_json() == unseen
