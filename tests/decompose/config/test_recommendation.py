"""The table of recommendations: which row holds, its steps, and that its evidence is a section of the page."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lorkit.decompose.config.recommendation import FEW, RULES, TRAINED, Amount, RegionSize, recommend
from lorkit.decompose.methods import METHODS

DOCS = Path(__file__).parents[3] / "docs"


def amount(*patients: int, foundation: bool = False, masks: bool = False) -> Amount:
    sizes = {
        f"r{number}": RegionSize(images=2 * count, patients=count, labels=2, masks=masks)
        for number, count in enumerate(patients)
    }
    return Amount(regions=sizes, foundation=foundation)


@pytest.mark.parametrize(
    ("given", "method"),
    [
        (amount(2000), "stl"),
        (amount(50), "stl"),
        (amount(50, foundation=True), "rd"),
        (amount(2000, foundation=True), "fitnet"),
        (amount(2000, 50), "stl-kd"),
        (amount(2000, 1500), "mtl"),
        (amount(2000, 1500, masks=True), "stl"),
        (amount(50, foundation=True, masks=True), "stl"),
    ],
)
def test_the_first_row_that_holds_is_written(given: Amount, method: str) -> None:
    assert recommend(given, batch_size=64).method == method


def test_few_are_patients_that_are_left_for_training() -> None:
    edge = int(FEW / TRAINED)
    assert amount(edge).few
    assert not amount(edge + 1).few


def test_steps_are_enough_for_the_smallest_phase() -> None:
    # 70 of 100 images in batches of 64 are two steps, times 20 epochs
    assert recommend(amount(50), batch_size=64).min_steps == 1000
    assert recommend(amount(5000), batch_size=64).min_steps is None
    # a joint network has the steps of all regions together, single networks those of their region
    assert recommend(amount(1500, 750), batch_size=64).min_steps is None
    assert recommend(amount(1500, 750, masks=True), batch_size=64).min_steps == 1000
    assert recommend(amount(4000, 50), batch_size=64).min_steps == 1000


def test_a_foundation_that_changes_the_row_is_named() -> None:
    found = recommend(amount(50), batch_size=64)
    assert found.taught is not None
    assert found.taught.method == "rd"
    assert recommend(amount(50, 50), batch_size=64).taught is None


def test_every_row_names_a_method_and_a_section_of_the_page() -> None:
    text = (DOCS / "benchmarks" / "teaching.md").read_text(encoding="utf-8")
    heads = re.findall(r"^##+ (.*)$", text, re.MULTILINE)
    sections = {re.sub(r"[^a-z0-9 -]", "", head.lower()).replace(" ", "-") for head in heads}
    for rule in RULES:
        assert rule.method in METHODS
        assert rule.section in sections
        assert len(rule.why) < 120
    assert RULES[-1].holds(amount(1))
