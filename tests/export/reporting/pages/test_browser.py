"""The report as a reader meets it: opened, clicked through and walked by keyboard in a headless Chromium."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lorkit.decompose.documents.report import ReportDocument
from lorkit.export.reporting.pages import render_html

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")
MOST_BYTES = 6_000_000


class Reader:
    """A page with all that it said and all that it asked for."""

    def __init__(self, browser: Any, path: Path, **options: Any) -> None:
        self.page = browser.new_page(viewport={"width": 1280, "height": 900}, reduced_motion="reduce", **options)
        self.said: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(path.resolve().as_uri())

    def colour(self) -> str:
        return str(self.page.evaluate("getComputedStyle(document.body).backgroundColor"))

    def focused(self) -> str:
        return str(self.page.evaluate("document.activeElement.id || document.activeElement.getAttribute('href')"))

    def in_view(self, selector: str) -> bool:
        box = self.page.locator(selector).bounding_box()
        return box is not None and -1 <= box["y"] < 900


@pytest.fixture
def reader(browser: Any, full_report: Path) -> Iterator[Reader]:
    opened = Reader(browser, full_report / "report.html", color_scheme="light")
    yield opened
    opened.page.close()


def test_it_opens_without_error_or_network(reader: Reader, full_report: Path, browser: Any, tmp_path: Path) -> None:
    assert (full_report / "report.html").stat().st_size < MOST_BYTES
    for fold in reader.page.locator("details").all():
        fold.evaluate("node => { node.open = true; }")
    reader.page.wait_for_timeout(50)
    assert reader.said == []
    assert [url for url in reader.asked if not url.startswith(("file:", "data:"))] == []
    # the detectors work: a page that does both is caught
    bad = tmp_path / "bad.html"
    bad.write_text("<img src='http://lorkit.invalid/x.png'><script>console.error('seen')</script>", encoding="utf-8")
    other = Reader(browser, bad)
    assert "http://lorkit.invalid/x.png" in other.asked
    assert any("seen" in line for line in other.said)


def test_a_script_from_the_data_would_not_run(browser: Any, document: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    injected = render_html(ReportDocument.model_validate(document)).replace(
        "</main>", "<script>document.title = 'ran'</script></main>"
    )
    path.write_text(injected, encoding="utf-8")
    reader = Reader(browser, path)
    assert reader.page.title() != "ran"
    assert any("Content Security Policy" in line for line in reader.said)


def test_a_table_that_is_cut_says_so_and_can_be_moved(browser: Any, full_report: Path) -> None:
    """Tables become cards before they are cut; names that are longer than any estimate are what remains."""
    reader = Reader(browser, full_report / "report.html")
    reader.page.set_viewport_size({"width": 700, "height": 900})
    frame = reader.page.get_by_role("region", name="Table of costs and accuracies")
    assert frame.evaluate("node => node.scrollWidth <= node.clientWidth")
    frame.evaluate("node => { node.querySelector('table').className = 'facts'; }")
    assert frame.evaluate("node => node.scrollWidth > node.clientWidth")
    # where a table goes on there is a shadow, which moves away with its end
    assert "local" in frame.evaluate("node => getComputedStyle(node).backgroundAttachment")
    frame.evaluate("node => node.scrollTo({left: 1e6, behavior: 'instant'})")
    edges = frame.evaluate("""node => [node.querySelector('thead tr').lastElementChild, node].map(
        one => one.getBoundingClientRect().right)""")
    assert edges[0] <= edges[1]
    reader.page.close()


def test_a_click_on_a_mark_leads_to_its_export(reader: Reader) -> None:
    mark = reader.page.locator("a.mark").last
    target = str(mark.get_attribute("href"))
    assert not reader.in_view(target)
    mark.click()
    assert reader.in_view(target)
    assert reader.focused() == target[1:]
    assert "outline" in str(reader.page.locator(target).evaluate("node => getComputedStyle(node).outline + 'outline'"))


def test_a_mark_tells_its_numbers_under_the_pointer_and_the_keyboard(reader: Reader) -> None:
    tip, mark = reader.page.locator("#tip"), reader.page.locator("a.mark").first
    assert not tip.is_visible()
    mark.hover(force=True)
    assert tip.is_visible()
    assert "ms median" in tip.inner_text()
    reader.page.keyboard.press("Escape")
    assert not tip.is_visible()
    mark.focus()
    assert tip.is_visible()
    assert tip.inner_text() == mark.get_attribute("data-tip")


def test_the_keyboard_reaches_verdicts_and_exports(reader: Reader) -> None:
    reader.page.keyboard.press("Tab")
    assert reader.focused() == "#verdicts", "the first stop skips to the verdicts"
    stops: list[str] = []
    for _ in range(80):
        reader.page.keyboard.press("Tab")
        stops.append(reader.focused())
        if stops[-1].startswith("#export-"):
            break
    assert stops[-1].startswith("#export-"), stops
    reader.page.keyboard.press("Enter")
    assert reader.in_view(stops[-1])
    assert reader.focused() == stops[-1][1:]


def test_the_theme_follows_the_system_until_it_is_chosen(browser: Any, reader: Reader, full_report: Path) -> None:
    dark = Reader(browser, full_report / "report.html", color_scheme="dark")
    light_colour, dark_colour = reader.colour(), dark.colour()
    assert light_colour != dark_colour
    reader.page.get_by_label("Dark").check(force=True)
    assert reader.colour() == dark_colour
    dark.page.get_by_label("Light").check(force=True)
    assert dark.colour() == light_colour
    reader.page.get_by_label("System").check(force=True)
    assert reader.colour() == light_colour
    dark.page.emulate_media(media="print", color_scheme="dark")
    dark.page.get_by_label("Dark").evaluate("node => { node.checked = true; }")
    assert dark.colour() == "rgb(255, 255, 255)", "paper is white"
    dark.page.close()


def test_the_legend_hides_a_region_in_every_panel(reader: Reader) -> None:
    lines = reader.page.locator('.training [data-series="0"]')
    assert lines.count() >= 4
    switch = reader.page.get_by_role("button", name="chest")
    switch.click()
    assert switch.get_attribute("aria-pressed") == "false"
    assert not any(line.is_visible() for line in lines.all())
    assert all(line.is_visible() for line in reader.page.locator('.training [data-series="1"]').all())
    switch.click()
    assert all(line.is_visible() for line in lines.all())


@pytest.mark.parametrize("width", [320, 400, 1280])
def test_nothing_sticks_out_sideways(reader: Reader, width: int) -> None:
    reader.page.set_viewport_size({"width": width, "height": 900})
    assert reader.page.evaluate("document.documentElement.scrollWidth") <= width


def test_nothing_is_cut_off_on_paper(reader: Reader) -> None:
    reader.page.set_viewport_size({"width": 720, "height": 1000})  # A4 less its margins, at 96 dots an inch
    reader.page.emulate_media(media="print")
    reader.page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert reader.page.evaluate("document.documentElement.scrollWidth") <= 720


def test_it_prints_on_paper_with_every_fold_open(reader: Reader, tmp_path: Path) -> None:
    printed = reader.page.pdf(path=tmp_path / "report.pdf", format="A4")
    assert printed.startswith(b"%PDF")
    reader.page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert reader.page.locator("details:not([open])").count() == 0
    reader.page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert reader.page.locator("details[open]").count() == 0


def test_everything_with_a_role_has_a_name(reader: Reader) -> None:
    """What a screen reader would say: no link, button, image, group or table without words."""
    session = reader.page.context.new_cdp_session(reader.page)
    nodes = [node for node in session.send("Accessibility.getFullAXTree")["nodes"] if not node["ignored"]]
    roles = {node["role"]["value"] for node in nodes}
    assert {"link", "button", "main", "navigation", "banner", "contentinfo", "table", "article"} <= roles
    unnamed = [node["role"]["value"] for node in nodes if node["role"]["value"] in NAMED and not said(node)]
    assert unnamed == []
    marks = [said(node) for node in nodes if node["role"]["value"] == "link" and "ms median" in said(node)]
    assert len(marks) == reader.page.locator("a.mark").count()


NAMED = ("link", "button", "img", "image", "table", "article", "region", "figure", "radio", "heading")


def said(node: dict[str, Any]) -> str:
    return str(node.get("name", {}).get("value", "")).strip()
