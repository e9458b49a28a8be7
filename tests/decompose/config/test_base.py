from __future__ import annotations

import pytest
from pydantic import ValidationError

from lorkit.decompose.config.base import Count, Fraction, Section, as_list, as_square


class Example(Section):
    count: Count = 1
    share: Fraction = 0.5


def test_sections_refuse_unknown_keys_and_do_not_change() -> None:
    with pytest.raises(ValidationError, match="Extra inputs"):
        Example.model_validate({"counts": 2})
    with pytest.raises(ValidationError, match="frozen"):
        Example().count = 2  # type: ignore[misc]


@pytest.mark.parametrize("values", [{"count": 0}, {"share": 1.0}, {"share": float("nan")}, {"share": -0.1}])
def test_numbers_have_limits(values: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        Example.model_validate(values)


def test_one_stands_for_a_list_or_a_square() -> None:
    assert (as_list("a"), as_list(["a", "b"])) == (["a"], ["a", "b"])
    assert (as_square(16), as_square([16, 8]), as_square((1, 2, 3))) == ((16, 16), [16, 8], (1, 2, 3))
    assert as_square(True) is True, "a truth is no number of pixels"
    for sides in ([16], [1, 2, 3, 4]):
        with pytest.raises(ValueError, match="three sides of volumes"):
            as_square(sides)
