"""Tables of labels for viewers."""

from __future__ import annotations

import shlex

from lorkit.export.prediction.masks import colour
from lorkit.export.prediction.writers.base import MaskLabel
from lorkit.export.prediction.writers.label_tables import itk_snap, slicer

LABELS = (MaskLabel(1, "left kidney", "a"), MaskLabel(12, 'the "rim"', "a"))


def rows(text: str) -> list[list[str]]:
    return [shlex.split(line) for line in text.splitlines() if line and not line.startswith("#")]


def test_itk_snap_gets_value_colour_opacity_switches_and_name() -> None:
    first, second, third = rows(itk_snap(LABELS))
    assert first == ["0", "0", "0", "0", "0", "0", "0", "background"]
    assert second == ["1", *map(str, colour(1)), "1", "1", "1", "left kidney"]
    assert (third[0], third[-1]) == ("12", "the 'rim'")


def test_slicer_gets_value_name_and_colour() -> None:
    lines = [line.split() for line in slicer(LABELS[:1]).splitlines() if not line.startswith("#")]
    assert lines == [["0", "background", "0", "0", "0", "0"], ["1", "left_kidney", *map(str, colour(1)), "255"]]
