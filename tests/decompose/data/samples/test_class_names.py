"""Names that hold a side, and names that are meant alike."""

from __future__ import annotations

import pytest

from lorkit.decompose.config import RegionAugment
from lorkit.decompose.data.samples.class_names import about_names, sided_names, without_flips
from lorkit.decompose.errors import UsageError


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["kidney_left", "spleen"], ["kidney_left"]),
        (["Left-Thalamus-Proper*", "BrainStem"], ["Left-Thalamus-Proper*"]),
        (["ctx-rh-insula"], ["ctx-rh-insula"]),
        (["lung L", "lung R"], ["lung L", "lung R"]),
        (["class l", "class m"], []),
        (["leftover", "bright", "normal"], []),
        (["hippocampus"], []),
    ],
)
def test_sides_are_found_in_names(names: list[str], expected: list[str]) -> None:
    assert sided_names(names) == expected


def test_flips_are_off_where_a_name_holds_a_side() -> None:
    names = ("kidney left", "kidney right")
    found, notices = without_flips("r", names, None)
    assert found == RegionAugment(flip=False)
    assert "names a side" in notices[0]
    kept, notices = without_flips("r", names, RegionAugment(rotate=3.0))
    assert kept == RegionAugment(flip=False, rotate=3.0)
    assert without_flips("r", names, False) == (False, ())
    assert without_flips("r", ("liver",), None) == (None, ())
    assert without_flips("r", ("liver",), RegionAugment(flip=True)) == (RegionAugment(flip=True), ())
    with pytest.raises(UsageError, match="'kidney left' names a side"):
        without_flips("r", names, RegionAugment(flip=True))


@pytest.mark.parametrize("names", [("NORMAL", "normal"), ("1", "1.0"), ("left lung", "left_lung"), ("a ", "A")])
def test_names_that_differ_in_spelling_are_reported(names: tuple[str, ...]) -> None:
    assert "differ only in spelling" in about_names((*names, "other"))[0]
    assert about_names((names[0], "other")) == []
