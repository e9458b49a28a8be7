from __future__ import annotations

import pytest
from pydantic import ValidationError

from lorkit.decompose.config.regions import RegionConfig


@pytest.mark.parametrize(("stated", "read"), [(50, (50,)), (0.02, (0.02,)), ([0.01, 100], (0.01, 100)), (None, None)])
def test_numbers_and_shares_of_nodes(stated: object, read: object) -> None:
    found = RegionConfig.model_validate({"data": "x", "recall_at": stated})
    assert found.recall_at == read
    again = RegionConfig.model_validate_json(found.model_dump_json())
    assert [type(one) for one in again.recall_at or ()] == [type(one) for one in found.recall_at or ()]


@pytest.mark.parametrize("wrong", [0, -1, 1.0, 1.5, 0.0, True, "10", [], [0.1, 0.1], [0.1, "a"], {"k": 1}])
def test_other_numbers_of_nodes_are_refused(wrong: object) -> None:
    with pytest.raises(ValidationError, match="of nodes"):
        RegionConfig.model_validate({"data": "x", "recall_at": wrong})


def test_one_path_is_a_list_of_one() -> None:
    assert RegionConfig(data="a.npz").data == ("a.npz",)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "either data, or train"),
        ({"data": "a", "val": "b"}, "not both"),
        ({"val": "a", "test": "b"}, "train and one or both of val and test"),
        ({"data": "a", "window": [3, 3]}, "low below high"),
        ({"data": "a", "spacing": [1, 1]}, "one number in mm, or three"),
        ({"data": "a", "spacing": [1, 1, "x"]}, "one number in mm, or three"),
        ({"data": "a", "spacing": True}, "one number in mm, or three"),
        ({"data": "a", "spacing": 0}, "0.05 to 50"),
        ({"data": "a", "spacing": [1, 1, float("nan")]}, "0.05 to 50"),
        ({"data": "a", "window_overlap": 0.5}, "only beside spacing"),
        ({"data": "a", "spacing": 1, "window_overlap": 0.8}, "less than or equal to 0.75"),
        ({"data": "a", "dta": "b"}, "Extra inputs"),
        ({"data": "a", "relations": ["card", "card"]}, "'card' is repeated"),
        ({"data": "a", "features": ["sum", "sum"]}, "'sum' is repeated"),
        ({"data": "a", "relations": ["card"], "label": "card"}, "only as the label"),
        ({"data": "a", "time": "y", "label": "y"}, "only as the label"),
    ],
)
def test_what_cannot_be_meant_is_refused(settings: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        RegionConfig(**settings)


def test_one_spacing_is_that_of_all_axes() -> None:
    assert RegionConfig(data=("a",), spacing=2).spacing == (2.0, 2.0, 2.0)
    assert RegionConfig(data=("a",), spacing=(1, 1, 3)).spacing == (1.0, 1.0, 3.0)
