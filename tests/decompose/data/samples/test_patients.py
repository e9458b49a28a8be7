"""Patients: stated, found by a pattern, or proposed and never applied."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lorkit.decompose.data.samples.patients import (
    group_by_pattern,
    names_patients,
    proposal_notice,
    propose,
    stated_groups,
)
from lorkit.decompose.data.samples.source import Source
from lorkit.decompose.errors import DataError, UsageError


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


@pytest.mark.parametrize(
    "name", ["group", "groups", "patient", "patient_id", "PatientID", "Patient ID", "patient-id", "subject", "CASE "]
)
def test_a_column_that_states_the_patient_is_known_by_name(name: str) -> None:
    assert names_patients(name)
    found = stated_groups({"age": ["1", "2"], name: ["a", " b "]}, ["x", "y"])
    assert found == (("a", "b"), True, ())
    assert stated_groups({"age": ["1", "2"], "outpatient": ["a", "b"]}, ["x", "y"]) is None


@pytest.mark.parametrize("cell", ["", " ", "NA", "nan", "None", "unknown", "-"])
def test_samples_without_an_id_are_groups_of_their_own_and_patients_are_not_known(cell: str) -> None:
    found = stated_groups({"patient": ["a", cell, "a", cell]}, ["w", "x", "y", "z"])
    assert found is not None
    assert found.groups == ("a", "x", "a", "z")
    assert not found.grouped
    assert "empty in 2 rows" in found.notices[0]
    assert stated_groups({"patient": [cell, cell]}, ["x", "y"]) is None


def test_of_two_columns_the_one_that_is_used_is_named() -> None:
    own = ["w", "x", "y", "z"]
    group, patient = ["a", "a", "b", "b"], ["1", "2", "2", "3"]
    found = stated_groups({"patient_id": patient, "group": group, "case": ["", "", "", ""]}, own)
    assert found is not None
    assert found.groups == ("a", "a", "b", "b")
    assert found.notices == (
        "columns 'group' and 'patient_id' both name patients, and differ: 'group' is used; 1 value of 'patient_id' are "
        "in several groups",
    )
    assert stated_groups({"group": group, "patient": ["1", "1", "2", "2"]}, own) == (tuple(group), True, ())


@pytest.mark.parametrize(("pattern", "expected"), [(r"^(P\d+)_", ("P1", "P1", "P22")), (r"P\d+", ("P1", "P1", "P22"))])
def test_a_pattern_finds_the_patient_in_the_name_of_a_file(pattern: str, expected: tuple[str, ...]) -> None:
    found = group_by_pattern("r", pattern, source(("P9/P1_a.png", "P1_b.png", "x\\P22_a.png")))
    assert found.groups == expected
    assert found.grouped


def test_a_pattern_with_a_slash_is_searched_in_the_path() -> None:
    found = group_by_pattern(
        "r", r"(patient\d+)/", source(("patient1/s/1.png", "patient1\\s\\2.png", "patient2/1.png"))
    )
    assert found.groups == ("patient1", "patient1", "patient2")


@pytest.mark.parametrize("pattern", [r"^(P\d+)?", r"^(P\d*|)", r"^(?:(P\d+)|b)"])
def test_a_pattern_that_finds_nothing_in_a_name_leaves_no_group(pattern: str) -> None:
    with pytest.raises(DataError, match=r"finds nothing in 'b\.png' \(1 such\)"):
        group_by_pattern("r", pattern, source(("P1_a.png", "b.png")))


def test_a_pattern_that_takes_too_long_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lorkit.decompose.data.samples.patients._SECONDS", 0.1)
    with pytest.raises(UsageError, match="repeats inside repeats"):
        group_by_pattern("r", r"^(a|aa)+b$", source(("a" * 60 + ".png",)))


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
        (("a/patient1/s/v1.png", "a/patient1/s/v2.png", "a/patient2/s/v1.png"), 2),
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


def test_a_proposed_pattern_is_short() -> None:
    found = propose(("d/P1_a.png", "d/P1_b.png", "d/P2_a.png"), (None,) * 3)
    assert found is not None
    assert found.pattern == r"^(P\d+)"
