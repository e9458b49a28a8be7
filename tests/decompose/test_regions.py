import re

import pytest
import torch

from lorkit.decompose.errors import DataError, UsageError
from lorkit.decompose.regions import RESERVED, Region, RegionSet


def regions() -> RegionSet:
    return RegionSet([Region(name="chest", classes=("a", "b")), Region(name="brain", classes=("a", "b", "c"))])


def test_position_is_the_routing_index() -> None:
    assert regions().names == ("chest", "brain")
    assert regions().index("brain") == 1


def test_unknown_region_names_the_nearest_and_all_known() -> None:
    with pytest.raises(UsageError, match=r"unknown region 'brian'; required: one of brain, chest; .*'brain'"):
        regions().get("brian")


@pytest.mark.parametrize("selection", [None, "", "all"])
def test_everything_is_selected_by_default(selection: str | None) -> None:
    assert regions().select(selection).names == ("chest", "brain")


def test_selection_keeps_the_order_asked_for() -> None:
    assert regions().select("brain, chest").names == ("brain", "chest")


@pytest.mark.parametrize(
    "name", ["foundation", "student", "all", "router", "region-id", "Chest", "a/b", "..", "", "a.b", "1st"]
)
def test_names_that_cannot_be_directories_are_refused(name: str) -> None:
    with pytest.raises(UsageError):
        Region(name=name, classes=("a", "b"))


def test_names_that_torch_modules_have_as_attributes_are_reserved_before_training() -> None:
    modules = [torch.nn.ModuleDict(), torch.nn.ParameterDict()]
    taken = {name for one in modules for name in dir(one) if re.fullmatch(r"[a-z][a-z0-9_-]*", name)}
    assert "training" in taken
    assert taken <= set(RESERVED)


@pytest.mark.parametrize("classes", [(), ("one",), ("same", "same")])
def test_classes_must_be_two_and_distinct(classes: tuple[str, ...]) -> None:
    with pytest.raises(DataError, match="chest"):
        Region(name="chest", classes=classes)


def test_a_name_twice_is_refused() -> None:
    with pytest.raises(UsageError, match="twice"):
        RegionSet([*regions(), regions()[0]])


@pytest.mark.parametrize(
    ("task", "grouped", "words"),
    [
        ("classification", True, ("image", "patients", "patients")),
        ("segmentation", False, ("image", "images", "images (patients unknown)")),
        ("multilabel", None, ("image", "groups", "patients")),
        ("node", None, ("node", "nodes", "nodes")),
        ("node", True, ("node", "entities", "entities")),
    ],
)
def test_samples_are_called_what_they_are(task: str, grouped: bool | None, words: tuple[str, str, str]) -> None:
    found = Region(name="a", task=task, classes=("a", "b"), grouped=grouped).words
    assert (found.case, found.groups, found.resampled) == words
    assert ("patients" in found.synthetic, "patients" in found.caution) == (found.case == "image",) * 2


def test_several_regions_have_the_groups_that_all_know() -> None:
    known, unknown = (Region(name=name, classes=("a", "b"), grouped=name == "a") for name in ("a", "b"))
    assert RegionSet([known, unknown]).words.group == "image"
    assert RegionSet([known, Region(name="c", classes=("a", "b"))]).words.group == "group"
    assert RegionSet([known]).words.group == "patient"


def test_json_round_trip() -> None:
    assert list(RegionSet.from_json(regions().to_json())) == list(regions())
