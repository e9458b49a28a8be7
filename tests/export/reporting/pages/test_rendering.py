import base64
import hashlib
import re
from html.parser import HTMLParser
from typing import Any

from report_kinds import of_masks, of_volumes
from sample_documents import flip, subset

from lorkit.decompose.documents.report import ReportDocument
from lorkit.export.reporting.pages import render_html, render_markdown

VOID = {"meta", "link", "br", "wbr", "img", "hr", "input"}
EVIL = "<script>alert(1)</script>|`\"'*_["


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


def html_of(document: dict[str, Any]) -> str:
    return render_html(ReportDocument.model_validate(document))


def markdown_of(document: dict[str, Any]) -> str:
    return render_markdown(ReportDocument.model_validate(document))


def inside(html: str, tag: str) -> str:
    (found,) = re.findall(rf"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
    return str(found)


def test_the_page_needs_nothing_from_elsewhere(html: str) -> None:
    page = Page(html)
    assert len(html) < 6_000_000
    assert "@import" not in html
    assert "fetch(" not in html
    for tag, attributes in page.tags:
        assert not any(name.startswith("on") for name in attributes), tag
        for name in ("src", "href", "srcset", "xlink:href"):
            assert (attributes.get(name) or "#").startswith(("#", "data:")), tag
    assert all(url.startswith("data:") for url in re.findall(r'url\("?([^")]*)', html))


def test_the_policy_allows_this_script_and_these_styles_only(html: str) -> None:
    page = Page(html)
    (meta,) = [meta for meta in page.attributes("meta") if meta.get("http-equiv") == "Content-Security-Policy"]
    rules = dict(rule.strip().split(" ", 1) for rule in str(meta["content"]).split(";"))
    for rule, tag in (("script-src", "script"), ("style-src", "style")):
        digest = base64.b64encode(hashlib.sha256(inside(html, tag).encode()).digest()).decode()
        assert rules[rule] == f"'sha256-{digest}'"
    assert rules["default-src"] == rules["base-uri"] == "'none'"
    assert not any("style" in attributes for _, attributes in page.tags), "the policy would drop it"


def test_the_page_can_be_read_without_eyes_or_mouse(html: str) -> None:
    page = Page(html)
    assert page.attributes("html") == [{"lang": "en"}]
    assert len(page.attributes("h1")) == len(page.attributes("main")) == 1
    assert len(page.attributes("caption")) == len(page.attributes("table"))
    assert all("scope" in attributes for attributes in page.attributes("th"))
    assert all("alt" in attributes for attributes in page.attributes("img"))
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    for drawing in page.attributes("svg"):
        if drawing.get("aria-hidden") != "true":
            assert drawing["role"] in ("img", "group")
            assert set((drawing["aria-labelledby"] or "").split()) <= set(ids)
    for scroll in [attributes for _, attributes in page.tags if (attributes.get("class") or "").startswith("scroll")]:
        assert scroll["tabindex"] == "0"
        assert scroll["aria-label"]
    for link in page.attributes("a"):
        assert (link["href"] or "#")[1:] in ids


def test_every_section_of_the_contents_is_there_verdicts_first(html: str) -> None:
    headings = re.findall(r'<h2 id="(\w+)"', html)
    assert headings == [
        "verdicts", "changed", "trade", "exports", "evidence", "answers", "training", "chain", "again", "terms"
    ]  # fmt: skip
    contents = html[html.index("<nav") : html.index("</nav>")]
    assert re.findall(r'href="#(\w+)"', contents) == headings


def test_every_export_has_a_card_that_its_mark_leads_to(html: str, document: dict[str, Any]) -> None:
    exports = [row for row in document["table"] if row["digest"]]
    assert len(exports) == 7
    page = Page(html)
    cards = [one["id"] for one in page.attributes("article") if (one.get("class") or "").endswith("export")]
    marks = [link["href"] for link in page.attributes("a") if link.get("class") == "mark"]
    assert sorted(marks, key=str) == sorted(f"#{card}" for card in cards)
    for row in exports:
        assert row["digest"] in html
        assert row["path"] in html
        assert all(command in html for command in row["commands"])


def test_a_long_provider_may_wrap_within_its_name_only_once(document: dict[str, Any]) -> None:
    for row in document["table"]:
        row["latency"] = {**(row["latency"] or {}), "provider": "<CPU>ExecutionProvider"} if row["latency"] else None
    html = render_html(ReportDocument.model_validate(document))
    assert "<dd>&lt;CPU&gt;<wbr>ExecutionProvider</dd>" in html


def test_dark_is_the_same_whether_chosen_or_of_the_system(html: str) -> None:
    css = inside(html, "style")
    blocks = [
        re.search(rf"{re.escape(selector)} \{{(.*?)\}}", css, re.DOTALL)
        for selector in (':root:not([data-theme="light"])', ':root[data-theme="dark"]')
    ]
    assert blocks[0] is not None
    assert blocks[1] is not None
    assert blocks[0].group(1).split() == blocks[1].group(1).split()


def test_names_with_markup_break_nothing(document: dict[str, Any]) -> None:
    chest = document["regions"].pop("chest")
    chest["classes"][0] = document["evaluations"]["experts"]["chest"]["classes"][0] = EVIL
    document["regions"] = {EVIL: chest | {"name": EVIL}, **document["regions"]}
    document["run_info"]["id"] = document["changes_since"]["id"] = document["commands"][0] = EVIL
    document["warnings"].append(EVIL)
    document["changes_since"]["settings"].append({"key": EVIL, "then": EVIL, "now": None})
    document["gate"]["regions"]["chest"]["reasons"].append(EVIL)
    document["gate"]["regions"][EVIL] = document["gate"]["regions"].pop("chest")
    document["evaluations"] = {
        model: {EVIL if name == "chest" else name: block for name, block in regions.items()}
        for model, regions in document["evaluations"].items()
    }
    for row in document["table"]:
        row["region"] = EVIL if row["region"] == "chest" else row["region"]
    html = html_of(document)
    assert html.count("<script") == 1
    Page(html)
    markdown = markdown_of(document)
    outside_of_code = re.sub(r"```.*?```|`[^`\n]*`", "", markdown, flags=re.DOTALL)
    assert "<script" not in outside_of_code
    assert "&lt;script&gt;" in markdown
    widths = {line.count("|") - line.count("\\|") for line in markdown.splitlines() if line.startswith("| &lt;script")}
    assert len(widths) <= 4, "a name must not add columns"


def test_all_that_a_gate_may_state_is_shown_and_its_absence_too(document: dict[str, Any]) -> None:
    accuracy = document["gate"]["regions"]["chest"]["accuracy_test"]
    accuracy["changed_answers"] = [
        flip("a" * 64, outcome="worsened", thumbnail="iVBORw0KGgoAAAA="),
        flip(EVIL, thumbnail="https://lorkit.invalid/x.png"),
    ]
    accuracy["by_subgroup"] = [subset("f", verdict="pass")]
    accuracy["by_structure"] = [subset("liver", column=None, verdict="not_judged")]
    accuracy |= {"needed_groups": 1234, "verdict": "inconclusive", "mcnemar_p": 0.03}
    costs = document["gate"]["regions"]["chest"]["deterministic"]
    costs["costs"]["nodes"] = {"baseline": 91, "candidate": 51, "ratio": 0.56, "verdict": "stated"}
    costs["weight_bytes"] = {"baseline": {"float32": 12}, "candidate": {"int8": 3}, "verdict": "stated"}
    document["gate"]["regions"]["chest"]["budget_test"] = {
        "verdict": "pass", "profile": "ward", "limits": {"p95_ms": 10.0},
        "measurements": {"p95_ms": {"limit": 10.0, "bounds": [8.0, 9.0], "verdict": "pass"}},
    }  # fmt: skip
    html = html_of(document)
    Page(html)
    for text in (
        "worsened",
        "sex=f",
        "not judged",
        "liver",
        "1,234",
        "p: 0.03",
        ">91<",
        "float32 12",
        "int8 3",
        "ms: [8.000, 9.000] of 10",
        "2 cases with",
    ):
        assert text in html, text
    assert "lorkit.invalid" not in html
    for block in document["gate"]["regions"].values():
        for key in ("timings_ms", "looks", "level", "control"):
            block["latency_test"].pop(key)
    html = html_of(document)
    Page(html)
    assert html.count("No latency was timed") == len(document["gate"]["regions"])


def test_a_foundation_that_cannot_be_exported_has_no_digest(document: dict[str, Any]) -> None:
    document["gate"]["regions"]["chest"]["baseline"] |= {"digest": None, "path": None}
    assert "foundation, not exported" in html_of(document)


def test_markdown_is_short_and_folds_what_is_long(full_report: Any) -> None:
    text = (full_report / "report.md").read_text(encoding="utf-8")
    assert text.startswith("## Gate: ")
    shown = re.sub(r"<details>.*?</details>", "", text, flags=re.DOTALL)
    assert len(shown.splitlines()) < 40
    assert text.count("<details>") == text.count("</details>") >= 3
    for _, body in re.findall(r"<details><summary>(.*?)</summary>(.*?)</details>", text, re.DOTALL):
        assert body.startswith("\n\n"), "GitHub reads Markdown in a fold after an empty line only"
        assert body.endswith("\n\n")
    tables = [block.splitlines() for block in re.findall(r"(?:^\|.*\n)+", text, re.M)]
    for table in tables:
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table}) == 1, table[0]
    assert text.endswith("device.\n")


def test_masks_have_structures_and_outlines_in_place_of_classes(document: dict[str, Any]) -> None:
    html = html_of(of_masks(document))
    page = Page(html)
    assert "Dice by structure" not in inside(html, "style")
    assert html.count('<table class="structures ') == 2
    for text in ("0.812", "0.723", "3.25", "0.934"):
        assert len(re.findall(rf"<td[^>]*>{re.escape(text)}", html)) >= 4, text
    for text in ("HD95, mm", "2 undefined", "tolerance 1.5 mm", "Validation mean Dice on the network&#39;s grid"):
        assert text in html, text
    assert ">2.500 mm<small>" in html
    assert "Slice 3" in html
    assert "outlines of the expert" in html
    assert "No ROC curves" not in html
    assert not [one for one in page.attributes("figure") if one.get("class") == "roc"]
    markdown = markdown_of(document)
    assert "<details><summary>Structures of chest</summary>" in markdown
    assert "| HD95, mm |" in markdown
    assert "| dark | 7 | expert | 0.812 [0.700, 0.900] | 0.723 [0.600, 0.800] | 3.25 [2.00, 4.00] (2 undefined) |" in (
        markdown
    )


def test_volumes_have_seconds_by_stage_memory_and_bias(document: dict[str, Any]) -> None:
    for text in (html_of(of_volumes(document)), markdown_of(document)):
        assert all(part in text for part in ("1935.25", "12.50", "6.11", "1990.32", "1509", "1501", "125 windows"))
        assert all(part in text for part in ("\N{MINUS SIGN}1.25", "\N{MINUS SIGN}12.5 %", "bias, ml"))


def test_a_run_of_which_nothing_is_known_has_a_page(document: dict[str, Any]) -> None:
    """Nothing exported, measured or trained here: what is missing is said, and nothing breaks."""
    document |= {"gate": None, "table": [], "training": [], "pictures": {}, "precisions": [], "changes_since": None}
    document["evaluations"] = {"foundation": None, "student": None, "experts": None}
    document["summary"] = dict.fromkeys(document["summary"])
    html = html_of(document)
    Page(html)
    for text in ("The gate has not run yet", "Nothing is exported yet", "Export the networks first", "not judged"):
        assert text in html, text
    assert markdown_of(document).startswith("## Not gated")
    assert "--baseline EXPORT" not in html
    document["run_info"]["has_foundation"] = False
    for text in (html_of(document), markdown_of(document)):
        assert f"decompose gate --run {document['run_info']['id']} --baseline EXPORT" in text


def test_an_evaluation_from_before_curves_were_kept_says_how_to_get_them(document: dict[str, Any]) -> None:
    for regions in document["evaluations"].values():
        for block in regions.values():
            for row in block["per_class"]:
                row.pop("roc")
                row.pop("auroc_ci")
    html = html_of(document)
    Page(html)
    assert html.count("No ROC curves") == 2


def test_a_stale_pass_is_not_shown_as_a_pass(document: dict[str, Any]) -> None:
    gate = document["gate"]
    gate["regions"]["chest"].update(verdict="pass", stale=True)
    gate.update(verdict="inconclusive", stale=True)
    (card,) = re.findall(r'<article class="card" aria-label="chest">.*?</h3>(.*?)</div>', html_of(document), re.DOTALL)
    assert 'class="badge pass"' not in card
    assert ">PASS<" in card
    assert ">stale<" in card
    (row,) = (line for line in markdown_of(document).splitlines() if line.startswith("| chest | ") and "stale" in line)
    assert "stale, was PASS" in row
    assert "✅" not in row


def test_the_limits_are_those_of_the_regions(document: dict[str, Any]) -> None:
    for index, block in enumerate(document["gate"]["regions"].values()):
        block["accuracy_test"]["allowed"], block["latency_test"]["margin"] = 0.01 + 0.04 * index, 0.03 + 0.02 * index
    for text in (html_of(document), markdown_of(document)):
        assert "3 % or 5 % more" in text.replace("\N{NARROW NO-BREAK SPACE}", " ").replace("\N{NO-BREAK SPACE}", " ")
        assert "a drop of up to 0.010 or 0.050" in text
