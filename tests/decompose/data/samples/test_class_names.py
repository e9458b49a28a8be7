"""Names that hold a side, and names that are meant alike."""

from __future__ import annotations

from typing import Literal

import pytest

from lorkit.decompose.config import AugmentConfig, RegionAugment
from lorkit.decompose.data.samples.class_names import about_names, about_patients, is_sided, sided_names, without_flips
from lorkit.decompose.regions import Region


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["kidney_left", "spleen"], ["kidney_left"]),
        (["Left-Thalamus-Proper*", "BrainStem"], ["Left-Thalamus-Proper*"]),
        (["ctx-rh-insula"], ["ctx-rh-insula"]),
        (["lung L", "lung R"], ["lung L", "lung R"]),
        (["class l", "class m"], []),
        (["leftover", "bright", "upright", "cleft palate", "normal"], []),
        (["left atrium"], ["left atrium"]),
        (["LeftKidney", "kidneyRight", "Liver"], ["LeftKidney", "kidneyRight"]),
        (["leftkidney", "spleen"], ["leftkidney"]),
        (["kidneyleft", "kidneyright", "cleft"], ["kidneyleft", "kidneyright"]),
        (["LKidney", "RKidney", "liver"], ["LKidney", "RKidney"]),
        (["kidneyl", "kidneyr", "bowel"], ["kidneyl", "kidneyr"]),
        (["RV", "MYO", "LV"], ["RV", "LV"]),
        (["LV", "MYO"], []),
        (["OD", "OS"], ["OD", "OS"]),
        (["lung", "liver", "rib", "KL1", "KL2", "RBC"], []),
        (
            ["Niere links", "rechte Niere", "rein droit", "riñón izquierdo"],
            ["Niere links", "rechte Niere", "rein droit", "riñón izquierdo"],
        ),
        (["hippocampus"], []),
    ],
)
def test_sides_are_found_in_names(names: list[str], expected: list[str]) -> None:
    assert sided_names(names) == expected


def test_flips_are_off_where_a_name_holds_a_side() -> None:
    names = ("kidney left", "kidney right")
    found, notices = without_flips(names, None)
    assert found == RegionAugment(flip=False)
    assert "names a side" in notices[0]
    kept, notices = without_flips(names, RegionAugment(rotate=3.0))
    assert kept == RegionAugment(flip=False, rotate=3.0)
    assert without_flips(names, False) == (False, ())
    assert without_flips(("liver",), None) == (None, ())
    assert without_flips(("liver",), RegionAugment(flip=True)) == (RegionAugment(flip=True), ())


def test_flips_that_a_region_states_are_kept_and_said() -> None:
    stated = RegionAugment(flip=True, rotate=3.0)
    kept, notices = without_flips(("left atrium",), stated)
    assert kept == stated
    assert "'left atrium' names a side" in notices[0]
    assert "wrong" in notices[0]


@pytest.mark.parametrize(
    ("classes", "stated", "train", "sided"),
    [
        (("x", "y"), None, AugmentConfig(), False),
        (("x", "y"), None, None, False),
        (("x", "y"), None, AugmentConfig(flip=False), True),
        (("x", "y"), RegionAugment(flip=False), AugmentConfig(), True),
        (("x", "y"), RegionAugment(flip=True), AugmentConfig(flip=False), False),
        (("x", "y"), RegionAugment(rotate=3.0), AugmentConfig(), False),
        (("x", "y"), False, AugmentConfig(), True),
        (("left lung", "right lung"), None, AugmentConfig(), True),
        (("left lung", "right lung"), RegionAugment(flip=True), AugmentConfig(), False),
    ],
)
def test_sides_matter_where_images_are_not_mirrored(
    classes: tuple[str, ...],
    stated: RegionAugment | Literal[False] | None,
    train: AugmentConfig | None,
    sided: bool,
) -> None:
    assert is_sided(Region(name="r", classes=classes), stated, train) == sided
    assert is_sided(Region(name="r", task="node", classes=classes), stated, train)


@pytest.mark.parametrize("names", [("NORMAL", "normal"), ("1", "1.0"), ("left lung", "left_lung"), ("a ", "A")])
def test_names_that_differ_in_spelling_are_reported(names: tuple[str, ...]) -> None:
    assert "differ only in spelling" in about_names((*names, "other"))[0]
    assert about_names((names[0], "other")) == []


def test_large_numbers_that_differ_are_not_alike() -> None:
    assert about_names(["1234567", "1234568", "12345678901234567890", "12345678901234567891"]) == []


@pytest.mark.parametrize("groups", [("7", "007", "8"), ("7", "7.0", "7"), ("P1", "p1", "P2"), ("a_1", "a 1", "b")])
def test_patients_that_differ_in_spelling_are_reported(groups: tuple[str, ...]) -> None:
    assert "(1 such): if they are one" in about_patients(groups)[0]
    assert about_patients((groups[0], groups[0], "other")) == ()
