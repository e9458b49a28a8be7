import re

import pytest

from lorkit.export.reporting.comparison.forest import Forest, outcome


def numbers(drawn: str, name: str) -> list[float]:
    return [float(found) for found in re.findall(rf' {name}="([-0-9.]+)"', drawn)]


def test_a_drop_is_drawn_as_a_change_to_one_scale() -> None:
    forest = Forest([(-0.1, 0.3), (0.05, 0.2)])
    (zero,) = {float(x) for x in re.findall(r'<line x1="([0-9.]+)"[^>]*class="axis"', str(forest.row(0.0, (0.0, 0.0))))}
    drawn = str(forest.row(0.1, (-0.1, 0.3)))
    (point,) = numbers(drawn, "cx")
    (whisker,) = re.findall(r'<line x1="([0-9.]+)" x2="([0-9.]+)"[^>]*class="whisker"', drawn)
    left, right = map(float, whisker)
    assert left < point < zero < right
    assert zero - left == pytest.approx(3 * (right - zero), rel=0.01), "0.3 worse to 0.1 better"
    (better,) = numbers(str(forest.row(-0.1, (-0.2, -0.05))), "cx")
    assert better - zero == pytest.approx(zero - point)


def test_an_outcome_needs_an_interval_without_zero() -> None:
    assert [outcome(drop, ci) for drop, ci in ((0.2, (0.1, 0.3)), (-0.2, (-0.3, -0.1)), (0.2, (-0.1, 0.5)))] == [
        "worse", "better", "open",
    ]  # fmt: skip
    assert 'class="chart forest worse"' in str(Forest([(0.1, 0.3)]).row(0.2, (0.1, 0.3)))


@pytest.mark.parametrize("reach", [0.0, 0.02, 0.38, 1.0, 3.0])
def test_the_scale_has_zero_and_at_least_one_value_on_each_side(reach: float) -> None:
    shown = [float(text) for text in re.findall(r">([-0-9.e]+)</text>", str(Forest([(-reach, reach)]).axis()))]
    assert 0.0 in shown
    assert min(shown) == -max(shown) < 0
    assert max(shown) <= 1.0
