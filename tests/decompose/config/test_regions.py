from __future__ import annotations

import pytest
from pydantic import ValidationError

from lorkit.decompose.config.regions import RegionConfig


def test_one_path_is_a_list_of_one() -> None:
    assert RegionConfig(data="a.npz").data == ("a.npz",)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "either data, or all of"),
        ({"data": "a", "val": "b"}, "not both"),
        ({"train": "a", "val": "b"}, "all of train, val and test"),
        ({"data": "a", "window": [3, 3]}, "low below high"),
        ({"data": "a", "spacing": [1, 1, 1]}, "no spacing in this version"),
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
