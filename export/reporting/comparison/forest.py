"""A forest plot of paired differences: a row per pair, drawn to one scale.

Each row is a drawing without words, beside its numbers in a table, so that a narrow window needs no small print.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from markupsafe import Markup

from lorkit.decompose.documents.base import Interval
from lorkit.export.rendering.svg import Scale, label, tag

_WIDTH, _HEIGHT, _EDGE = 300.0, 24.0, 8.0
Outcome = Literal["better", "worse", "open"]


def outcome(drop: float, ci: Interval) -> Outcome:
    """Return whether a candidate is better or worse than its baseline; open if the interval has zero in it."""
    if ci[1] < 0 or ci[0] > 0:
        return "better" if drop < 0 else "worse"
    return "open"


class Forest:
    """Rows of changes (candidate minus baseline) with their intervals, zero in the middle."""

    def __init__(self, intervals: Iterable[Interval]) -> None:
        reach = max((abs(bound) for one in intervals for bound in one), default=0.0)
        self.reach = min(1.0, max(reach * 1.05, 0.01))
        self._x = Scale((-self.reach, self.reach), (_EDGE, _WIDTH - _EDGE))

    def row(self, drop: float, ci: Interval) -> Markup:
        """Draw one drop as the change that it is: the interval is a line, the change a point."""
        left, right, at = (self._x.clipped(-value) for value in (ci[1], ci[0], drop))
        middle, zero = _HEIGHT / 2, self._x(0.0)
        return self._sheet(
            [
                *(tag("line", x1=x, x2=x, y1=0.0, y2=_HEIGHT, class_="grid") for x in self._ticks()),
                tag("line", x1=zero, x2=zero, y1=0.0, y2=_HEIGHT, class_="axis"),
                tag("line", x1=left, x2=right, y1=middle, y2=middle, class_="whisker"),
                tag("circle", cx=at, cy=middle, r=4.5, class_="solid"),
            ],
            f"forest {outcome(drop, ci)}",
        )

    def axis(self) -> Markup:
        """Draw the scale, for the heading of the column."""
        marks = [
            tag("text", label(round(at, 3)), x=self._x(at), y=16.0, class_="tick", text_anchor="middle")
            for at in self._values()
        ]
        return self._sheet(marks, "forest")

    def _values(self) -> list[float]:
        return self._x.ticks(6)

    def _ticks(self) -> list[float]:
        return [self._x(at) for at in self._values() if at]

    @staticmethod
    def _sheet(body: list[Markup], names: str) -> Markup:
        size = {"viewBox": f"0 0 {_WIDTH:g} {_HEIGHT:g}", "width": _WIDTH, "height": _HEIGHT}
        return tag("svg", *body, **size, class_=f"chart {names}", aria_hidden="true")
