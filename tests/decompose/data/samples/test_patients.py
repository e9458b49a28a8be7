"""Patients: stated, found by a pattern, or proposed and never applied."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lorkit.decompose.data.samples.patients import group_by_pattern, proposal_notice, propose, stated_groups
from lorkit.decompose.data.samples.source import Source
from lorkit.decompose.errors import DataError


def source(ids: tuple[str, ...]) -> Source:
    zeros = np.zeros(len(ids), np.int64)
    return Source(
        images=np.zeros((len(ids), 2, 2), np.uint8),
        labels=zeros,
        classes=("a", "b"),
        ids=ids,
        groups=ids,
        parts=(None,) * len(ids),
        origin="test",
    )


@pytest.mark.parametrize("name", ["group", "groups", "patient", "patient_id", "subject", "case"])
def test_a_column_that_states_the_patient_is_known_by_name(name: str) -> None:
    assert stated_groups({"age": 1, name: 2}) == (name, 2)
    assert stated_groups({"age": 1}) is None


@pytest.mark.parametrize(("pattern", "expected"), [(r"^(P\d+)_", ("P1", "P1", "P22")), (r"P\d+", ("P1", "P1", "P22"))])
def test_a_pattern_finds_the_patient_in_the_name_of_a_file(pattern: str, expected: tuple[str, ...]) -> None:
    found = group_by_pattern("r", pattern, source(("P9/P1_a.png", "P1_b.png", "x\\P22_a.png")))
    assert found.groups == expected
    assert found.grouped


def test_a_name_without_the_pattern_is_named() -> None:
    with pytest.raises(DataError, match=r"finds nothing in 'b\.png' \(1 such\)"):
        group_by_pattern("r", r"^(P\d+)_", source(("P1_a.png", "b.png")))


@pytest.mark.parametrize(
    ("names", "groups"),
    [
        (("P001_1.png", "P001_2.png", "P002_1.png", "P002_2.png"), 2),
        (("s1/patient-7.a.dcm", "s1/patient-7.b.dcm", "s1/patient-8.a.dcm"), 2),
        (("0001-left.png", "0001-right.png", "0002-left.png"), 2),
        (("12_L.tif", "12_R.tif", "13_L.tif", "13_R.tif"), 2),
    ],
)
def test_a_likely_patient_is_proposed_with_a_pattern_that_works(names: tuple[str, ...], groups: int) -> None:
    found = propose(names, (None,) * len(names))
    assert found is not None
    assert found.groups == groups
    assert len(set(group_by_pattern("r", found.pattern, source(names)).groups)) == groups
    assert found.pattern in proposal_notice(found)


@given(st.lists(st.integers(0, 10**6), min_size=2, max_size=30, unique=True))
def test_numbered_images_are_no_patients(numbers: list[int]) -> None:
    for form in ("{}.png", "IMG_{}.png", "{}_mask.png", "patient{}.png"):
        names = [form.format(number) for number in numbers]
        assert propose(names, [None] * len(names)) is None


def test_a_proposal_that_would_tear_stated_parts_says_that_instead() -> None:
    found = propose(("P1_a.png", "P1_b.png", "P2_a.png", "P2_b.png"), ("train", "test", "train", "train"))
    assert found is not None
    assert "'P1' would then be in test and in train" in proposal_notice(found)
    assert "set groups" not in proposal_notice(found)
