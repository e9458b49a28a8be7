from typing import Any

import pytest

from lorkit.decompose.errors import UsageError
from lorkit.export.gating.limits import limits_of, parse_fractions


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0.02", 0.02),
        ("chest=0.01,brain=0.05", {"chest": 0.01, "brain": 0.05}),
        ("0.03, chest=0.01", {"*": 0.03, "chest": 0.01}),
    ],
)
def test_allowed_drops_are_read_as_one_writes_them(text: str, expected: Any) -> None:
    assert parse_fractions("--max-accuracy-drop", text) == expected


@pytest.mark.parametrize(
    "text", ["", "x", "chest=", "=0.1", "chest=0.1,chest=0.2", "0.1,0.2", "1.5", "nan", "chest=-1"]
)
def test_what_is_no_drop_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--max-accuracy-drop"):
        parse_fractions("--max-accuracy-drop", text)


def test_a_region_has_its_own_margin_else_the_common_one() -> None:
    limits = limits_of(0.03, {"*": 0.05, "chest": 0.01}, 60.0, "pass")
    assert (limits.allowed("chest"), limits.allowed("knee")) == (0.01, 0.05)
    assert limits_of(0.03, {"chest": 0.01}, 60.0, "pass").allowed("knee") == 0.02
    limits.check_regions(["chest", "knee"])
    with pytest.raises(UsageError, match="no region 'chest'; required: one of brain, knee"):
        limits.check_regions(["knee", "brain"])
