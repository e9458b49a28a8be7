"""Headlines say ranges and drops in words."""

from __future__ import annotations

from typing import Any

import pytest
from sample_documents import accuracy, gate, region

from lorkit.decompose.documents.base import combine
from lorkit.decompose.documents.report import ReportDocument, ReportedGate
from lorkit.export.reporting.pages.headlines import headlines, ratio_in_words


@pytest.mark.parametrize(
    ("saving", "said"),
    [
        (3.4, "3.4\N{MULTIPLICATION SIGN} faster"),
        (1.25, "20 % faster"),
        (1.002, "as fast"),
        (0.96, "4 % slower"),
        (0.5, "2.0\N{MULTIPLICATION SIGN} slower"),
    ],
)
def test_ratios_near_one_are_percentages(saving: float, said: str) -> None:
    assert ratio_in_words(saving, "faster", "slower", "as fast") == said


def document(judged: Any, **savings: Any) -> ReportDocument:
    summary = {"parameters": None, "macs": None, "size_bytes": None, "latency": None, **savings}
    stored = combine(ReportedGate, gate(judged), stale=False)
    return ReportDocument.model_construct(summary=summary, gate=stored)


def test_costs_are_ranges_and_a_single_value_is_said_once() -> None:
    found = dict((what, value) for value, what in headlines(document({}, latency=(0.96, 2.1), macs=(3.0, 3.01))))
    assert found["latency"] == "4 % slower to 2.1\N{MULTIPLICATION SIGN} faster"
    assert found["multiply-accumulates"] == "3.0\N{MULTIPLICATION SIGN} fewer"


def test_the_largest_drop_stands_with_its_region_and_interval() -> None:
    blocks = {
        "chest": region(accuracy_test=accuracy(drop=-0.167, ci=[-0.2, -0.1])),
        "knee": region(accuracy_test=accuracy(drop=0.012, ci=[-0.004, 0.03])),
        "brain": region(accuracy_test=accuracy(drop=0.5, ci=[0.4, 0.6]), stale=True),
    }
    ((value, what),) = headlines(document(blocks))
    assert value == "loses 0.012"
    assert what == (
        "balanced accuracy of knee, the largest drop of 2 regions (95 % interval: a gain of 0.004 to a drop of 0.030)"
    )


def test_the_least_of_several_gains_is_no_drop() -> None:
    gains = {
        name: region(accuracy_test=accuracy(drop=-gain, ci=[-gain - 0.01, -gain + 0.01]))
        for name, gain in (("chest", 0.167), ("knee", 0.06))
    }
    ((value, what),) = headlines(document(gains))
    assert value == "gains 0.060"
    assert what.startswith("balanced accuracy of knee, the smallest gain of 2 regions (95 % interval: a gain of 0.070")


def test_nothing_judged_gives_no_headline_on_accuracy() -> None:
    assert headlines(ReportDocument.model_construct(summary=document({}).summary, gate=None)) == []


def test_a_network_of_all_regions_is_no_region() -> None:
    drops = {name: region(accuracy_test=accuracy(drop=0.01, ci=[0.0, 0.02])) for name in ("chest", "knee", "router")}
    ((_, what),) = headlines(document(drops))
    assert "the largest drop of 2 regions and the router (" in what
