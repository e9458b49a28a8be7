"""Every kind of report in a headless Chromium: nothing is cut or sticks out, and every text can be read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from page_checks import CONTRASTS, CUT, LEAST_CONTRAST
from report_kinds import KINDS

from lorkit.decompose.artifacts import read_json
from lorkit.decompose.documents.report import ReportDocument
from lorkit.export.reporting.pages import render_html

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")


@pytest.fixture(scope="module", params=list(KINDS))
def opened(
    request: pytest.FixtureRequest, browser: Any, full_report: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Any]:
    """A report of one kind, with all folds open; drawn and opened once, as tests of one kind follow each other."""
    path = tmp_path_factory.mktemp("page") / "report.html"
    kind = KINDS[request.param](read_json(full_report / "report.json", kind="report"))
    kind["run_info"]["configuration"]["student"]["backbone"] = (
        "ragformer:width=32,feedforward=128,layers=2"  # a long word
    )
    path.write_text(render_html(ReportDocument.model_validate(kind)), encoding="utf-8")
    shown = browser.new_page(reduced_motion="reduce")
    shown.goto(path.resolve().as_uri())
    shown.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")
    yield shown
    shown.close()


@pytest.fixture
def page(opened: Any) -> Any:
    """The report on a screen, whatever the test before showed it on."""
    opened.emulate_media(media="screen", color_scheme="light")
    return opened


def test_nothing_is_cut_at_any_width(page: Any) -> None:
    for width in (390, 700, 1000, 1300):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate(CUT) == [], width
        assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, width
    page.set_viewport_size({"width": 720, "height": 1000})  # A4 less its margins
    page.emulate_media(media="print")
    assert page.evaluate(CUT) == [], "on paper"


def test_tables_stay_tables_where_they_fit(page: Any) -> None:
    """Also a check of the test itself: headings are seen in a wide window, and cells name their column in a narrow."""
    costs = page.locator('[aria-label^="Table of costs"] thead').first.locator("th").last
    page.set_viewport_size({"width": 1300, "height": 900})
    assert costs.bounding_box()["width"] > 30
    page.set_viewport_size({"width": 390, "height": 900})
    assert costs.bounding_box()["width"] < 2 or page.locator('[aria-label^="Table of costs"] thead').first.evaluate(
        "node => getComputedStyle(node).position === 'absolute'"
    )
    named = page.locator('[aria-label^="Table of costs"] td').first
    assert named.evaluate("node => getComputedStyle(node, '::before').content") == '"Parameters"'


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_has_contrast(page: Any, scheme: str) -> None:
    page.set_viewport_size({"width": 1300, "height": 900})
    page.emulate_media(color_scheme=scheme)
    found = page.evaluate(CONTRASTS)
    assert len(found) > 300
    faint = sorted({f"{contrast:.2f} {text}" for contrast, text in found if contrast < LEAST_CONTRAST})
    assert faint == []


def test_a_faint_text_and_a_wide_one_would_be_found(page: Any) -> None:
    page.set_viewport_size({"width": 390, "height": 900})
    page.evaluate("document.querySelector('main').insertAdjacentHTML('afterbegin', '<p id=bad>faint</p>')")
    page.evaluate(
        "Object.assign(document.getElementById('bad').style, {color: '#999', background: '#bbb', width: '900px', "
        "maxWidth: 'none'})"
    )
    assert any("faint" in text for text in page.evaluate(CUT))
    assert [round(contrast, 1) for contrast, text in page.evaluate(CONTRASTS) if text.endswith("faint")] == [1.5]
    page.evaluate("document.getElementById('bad').remove()")
