"""Heat maps: a cell per pair, its number and its strength."""

from __future__ import annotations

import re

import pytest

from lorkit.export.reporting.charts.heat_map import heat_map

VALUES = {"chest": {"chest": 1.0, "knee": 0.25}, "knee <b>": {"chest": 0.25, "knee": 1.3}}


def test_every_cell_has_its_number_and_an_opacity_within_bounds() -> None:
    drawn = str(heat_map("k", "title", "said", VALUES, note="a note"))
    opacities = [float(text) for text in re.findall(r'fill-opacity="([0-9.]+)"', drawn)]
    assert opacities == pytest.approx([0.7, 0.175, 0.175, 0.7], abs=0.01)
    assert re.findall(r">([0-9.]+)</text>", drawn) == ["1.00", "0.25", "0.25", "1.30"]
    assert "a note" in drawn


def test_names_from_data_are_escaped() -> None:
    drawn = str(heat_map("k", "title", "said", VALUES))
    assert "<b>" not in drawn
    assert "knee &lt;b&gt;" in drawn
