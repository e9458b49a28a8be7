"""Heat maps: a cell per pair, its number and its strength."""

from __future__ import annotations

import re

from lorkit.export.reporting.charts.heat_map import heat_map

VALUES = {"chest": {"chest": 1.0, "knee": 0.25}, "knee <b>": {"chest": 0.25, "knee": 1.3}}


def test_every_cell_has_its_number_and_an_opacity_within_bounds() -> None:
    drawn = str(heat_map("k", "title", "said", VALUES, note="a note"))
    assert [float(text) for text in re.findall(r'fill-opacity="([0-9.]+)"', drawn)] == [1.0, 0.25, 0.25, 1.0]
    assert re.findall(r">([0-9.]+)</text>", drawn) == ["1.00", "0.25", "0.25", "1.30"]
    assert drawn.count("heat-dark") == drawn.count("heat-light") == 2
    assert "a note" in drawn


def test_names_from_data_are_escaped() -> None:
    drawn = str(heat_map("k", "title", "said", VALUES))
    assert "<b>" not in drawn
    assert "knee &lt;b&gt;" in drawn
