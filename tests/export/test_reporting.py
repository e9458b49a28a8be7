import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from lorkit.decompose.artifacts import read_json, read_manifest
from lorkit.decompose.errors import UsageError
from lorkit.decompose.runs import Run
from lorkit.export.gating import gate
from lorkit.export.reporting import render_html, render_markdown, report

VOID = {"meta", "link", "br", "img", "hr", "input"}
CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
)


class Page(HTMLParser):
    """Checks that tags close in order, and remembers what a test asks about."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def attributes(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def read(paths: list[Path]) -> tuple[str, str, dict[str, Any]]:
    return paths[0].read_text("utf-8"), paths[1].read_text("utf-8"), read_json(paths[2], kind="report")


def test_a_report_without_a_gate_tells_how_to_run_one(measured: Run) -> None:
    paths = report().files
    assert [path.name for path in paths] == ["report.html", "report.md", "report.json"]
    html, markdown, document = read(paths)
    for text in (html, markdown):
        assert "No gate has been run yet" in text
        assert "decompose gate --run by-hand" in text
    assert "SYNTHETIC" in html
    assert "SYNTHETIC" in markdown
    assert "Not a diagnostic device" in html
    assert document["run"]["id"] == "by-hand"
    manifest = read_manifest(measured.report_dir, kind="report")
    assert manifest.synthetic
    assert manifest.parent is not None
    assert manifest.parent["sha256"] == measured.manifest.digest


def test_an_unchanged_report_is_kept_and_a_gate_renews_it(measured: Run) -> None:
    first = report().files[0].stat().st_mtime_ns
    again = report()
    assert again.up_to_date
    assert again.files[0].stat().st_mtime_ns == first
    assert report(force=True).files[0].stat().st_mtime_ns != first
    gate(max_seconds=30.0, max_accuracy_drop=0.05)
    html, markdown, document = read(report().files)
    assert document["gate"]["verdict"] == "pass"
    assert 'class="badge pass">PASS<' in html
    assert "**Gate: PASS**" in markdown
    assert html.index('id="verdicts"') < html.index('id="costs"')


def test_the_page_needs_nothing_from_elsewhere(measured: Run) -> None:
    html, _, _ = read(report().files)
    page = Page(html)
    assert len(html) < 6_000_000
    assert not page.attributes("script")
    assert "@import" not in html
    for tag, attributes in page.tags:
        assert not any(name.startswith("on") for name in attributes), tag
        for name in ("src", "href"):
            assert (attributes.get(name) or "#").startswith(("#", "data:")), tag
    assert all(url.startswith("data:") for url in re.findall(r'url\("?([^")]*)', html))
    (policy,) = [meta for meta in page.attributes("meta") if meta.get("http-equiv") == "Content-Security-Policy"]
    assert (policy["content"] or "").startswith("default-src 'none'")


def test_the_page_can_be_read_without_eyes_or_mouse(measured: Run) -> None:
    html, _, _ = read(report().files)
    page = Page(html)
    assert page.attributes("html") == [{"lang": "en"}]
    assert len(page.attributes("h1")) == 1
    assert len(page.attributes("caption")) == len(page.attributes("table"))
    assert all("scope" in attributes for attributes in page.attributes("th"))
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    for drawing in page.attributes("svg"):
        assert drawing["role"] == "img"
        assert set((drawing["aria-labelledby"] or "").split()) <= set(ids)
    for scroll in [attributes for _, attributes in page.tags if (attributes.get("class") or "").startswith("scroll")]:
        assert scroll["tabindex"] == "0"
        assert scroll["aria-label"]
    for link in page.attributes("a"):
        assert (link["href"] or "#")[1:] in ids


def test_names_with_markup_break_nothing(measured: Run) -> None:
    evil = "<script>alert(1)</script>|`\"'"
    document = read(report().files)[2]
    document["regions"][0]["classes"][0] = evil
    document["evaluations"]["experts"]["chest"]["classes"][0] = evil
    document["run"]["id"] = evil
    document["warnings"].append(evil)
    for row in document["table"]:
        row["region"] = evil if row["region"] == "chest" else row["region"]
    html = render_html(document)
    assert "<script" not in html
    Page(html)
    markdown = render_markdown(document)
    outside_of_code = re.sub(r"```.*?```|`[^`\n]*`", "", markdown, flags=re.DOTALL)
    assert "<script" not in outside_of_code
    assert "&lt;script&gt;" in markdown


def test_two_runs_stand_side_by_side(measured: Run, tmp_path: Path, workshop: Any) -> None:
    other = workshop.write_run(tmp_path / "runs" / "older", regions=("chest",), cases=80)
    workshop.write_evaluations(other, cases=40)
    html, _, document = read(report("by-hand", against="older").files)
    assert [row["region"] for row in document["against"]["rows"]] == ["chest"]
    assert "Against older" in html
    Page(html)
    with pytest.raises(UsageError, match="against itself"):
        report("by-hand", against="by-hand")


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: the page is not opened in a browser")
def test_a_browser_opens_it_without_network_or_error(measured: Run, tmp_path: Path) -> None:
    gate(max_seconds=30.0, max_accuracy_drop=0.05)
    urls, console, dom = open_in_browser(report().files[0], tmp_path / "a")
    assert urls == set()
    assert console == []
    assert "decomposed by lorkd" in dom
    # the detectors work: a page that does both is caught
    bad = tmp_path / "bad.html"
    bad.write_text("<img src='http://lorkit.invalid/x.png'><script>console.error('seen')</script>", encoding="utf-8")
    urls, console, _ = open_in_browser(bad, tmp_path / "b")
    assert urls == {"http://lorkit.invalid/x.png"}
    assert any("seen" in line for line in console)


def open_in_browser(page: Path, profile: Path) -> tuple[set[str], list[str], str]:
    """Open a page headless; return what it asked the network for, what the console said, and the DOM.

    The browser's own calls home go to Google's hosts and are not the page's; none of them gets out.
    """
    log = profile.with_suffix(".json")
    command = [
        str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
        "--disable-component-update", "--disable-sync", "--disable-extensions", "--no-first-run",
        "--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={profile}", "--enable-logging=stderr",
        f"--log-net-log={log}", "--window-size=1280,2400", "--dump-dom", page.resolve().as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    seen = set(re.findall(r'"url":"(https?://[^"]+)"', log.read_text(encoding="utf-8", errors="replace")))
    own = re.compile(r"https?://([a-z0-9-]+\.)*(google|googleapis|gstatic|gvt1)\.com[/:]")
    urls = {url for url in seen if not own.match(url)}
    return urls, [line for line in done.stderr.splitlines() if "CONSOLE" in line], done.stdout
