from __future__ import annotations

from xml.etree import ElementTree

from lorkit.export.rendering.svg import judged, named, sheet, shorten, watermark


def test_a_sheet_is_a_file_of_its_own_that_tells_what_it_shows() -> None:
    root = ElementTree.fromstring(sheet("A & B", "a <b> c", []))
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert [one.text for one in root][:2] == ["A & B", "a <b> c"]


def test_what_is_written_on_every_drawing() -> None:
    document = {"split": "val", "metric": "balanced_accuracy", "synthetic": True}
    assert (judged(document), named(document)) == ("val split", "balanced accuracy")
    assert "SYNTHETIC" in str(watermark(document)[0])
    assert watermark({**document, "synthetic": False}) == []
    assert (shorten("short"), shorten("a" * 18)) == ("short", "a" * 14 + "...")
