from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lorkit.export.rendering.svg import (
    Plot,
    Scale,
    figure,
    path,
    sheet,
    shorten,
    spread_labels,
    tag,
    watermark,
)


def test_text_and_attributes_are_escaped() -> None:
    assert tag("text", "<b>&", class_='a"b', text_anchor="end") == (
        '<text class="a&#34;b" text-anchor="end">&lt;b&gt;&amp;</text>'
    )
    assert tag("g", tag("line", x1=1.0), skipped=None) == '<g><line x1="1"/></g>'


def test_a_figure_is_named_and_described() -> None:
    drawing = figure("k", "Title <x>", "What it says", (10, 20), [tag("line")])
    root = ElementTree.fromstring(drawing)
    assert root.attrib["role"] == "img"
    assert root.attrib["aria-labelledby"] == "k-t k-d"
    assert [child.text for child in root[:2]] == ["Title <x>", "What it says"]


def test_scales_map_ends_to_ends() -> None:
    straight, log = Scale((0, 10), (100, 0)), Scale((1, 100), (0, 10), log=True)
    assert [straight(value) for value in (0, 5, 10)] == [100, 50, 0]
    assert [log(value) for value in (1, 10, 100)] == [0, 5, 10]
    assert log.clipped(1e9) == 10
    assert Scale((3, 3), (0, 10))(3) == 5


@given(st.floats(-1e3, 1e3), st.floats(1e-3, 1e3))
def test_ticks_are_few_and_inside(low: float, width: float) -> None:
    ticks = Scale((low, low + width), (0, 1)).ticks(4)
    assert len(ticks) <= 6
    assert all(low - 1e-6 * width <= tick <= low + width * (1 + 1e-6) for tick in ticks)


@given(st.floats(1e-4, 1e3), st.floats(1.1, 1e5))
def test_log_ticks_are_few_and_inside(low: float, factor: float) -> None:
    ticks = Scale((low, low * factor), (0, 1), log=True).ticks()
    assert len(ticks) <= 9
    assert all(low * 0.99 <= tick <= low * factor * 1.01 for tick in ticks)


@given(st.lists(st.floats(0, 100), min_size=1, max_size=6))
def test_labels_move_apart_and_keep_their_order(wanted: list[float]) -> None:
    placed = spread_labels(wanted, 12, (0, 100))
    order = np.argsort(wanted, kind="stable")
    assert (np.diff(np.array(placed)[order]) >= 12 - 1e-9).all()
    assert max(placed) <= 100


def test_axes_and_paths_are_drawn() -> None:
    plot = Plot(Scale((0, 10), (40, 300)), Scale((0, 1), (200, 20)), "epoch", "loss")
    drawn = "".join(plot.axes())
    assert ">epoch<" in drawn
    assert ">loss<" in drawn
    assert path([(0, 0), (1.25, 2)], class_="line") == '<path d="M0.0 0.0 L1.2 2.0" fill="none" class="line"/>'


@pytest.mark.parametrize("value", [0.1, 1.0, 25.0])
def test_numbers_are_short(value: float) -> None:
    assert len(tag("line", x1=value / 3)) < 24


def test_a_sheet_is_a_file_of_its_own_that_tells_what_it_shows() -> None:
    root = ElementTree.fromstring(sheet("A & B", "a <b> c", []))
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert [one.text for one in root][:2] == ["A & B", "a <b> c"]


def test_what_is_written_on_every_drawing() -> None:
    assert "SYNTHETIC" in str(watermark(True)[0])
    assert watermark(False) == []
    assert (shorten("short"), shorten("a" * 18)) == ("short", "a" * 12 + "...")
