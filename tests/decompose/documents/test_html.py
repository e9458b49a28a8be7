from __future__ import annotations

from html.parser import HTMLParser

from lorkit.decompose.documents.html import cell, document_table, table


class Cells(HTMLParser):
    """Reads the cells of tables, and fails for tags that a table has not."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: object) -> None:
        assert tag in {"table", "caption", "thead", "tbody", "tr", "th", "td", "div"}
        assert not attrs
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_data(self, data: str) -> None:
        if self.rows and self.rows[-1] and self.lasttag in ("td", "th"):
            self.rows[-1][-1] += data
        self.text += data


def read(html: str) -> Cells:
    reader = Cells()
    reader.feed(html)
    return reader


def test_regions_become_rows_and_what_they_hold_columns() -> None:
    document = {
        "schema_version": 1,
        "kind": "gate",
        "warnings": ["few cases"],
        "verdict": "fail",
        "regions": {
            "chest": {"verdict": "pass", "latency": {"ratio": 0.51234567, "ci": [0.5, 0.6]}, "reasons": []},
            "knee": {"verdict": "fail", "latency": {"ratio": None}},
        },
    }
    found = read(document_table(document))
    assert found.rows == [["", "verdict", "latency.ratio"], ["chest", "pass", "0.5123"], ["knee", "fail", ""]]
    assert "kind gate, verdict fail: regions" in found.text
    assert "warning: few cases" in found.text


def test_what_a_file_or_a_user_named_is_escaped() -> None:
    bad = "<script>alert('x')</script>"
    html = table(bad, [bad], [[bad]], notes=[bad]) + document_table({"kind": bad, "regions": {bad: {bad: bad}}})
    assert "<script" not in html
    assert read(html).rows[1] == [bad]


def test_long_lists_say_what_they_leave_out() -> None:
    found = read(table("many", ["n"], [[index] for index in range(25)]))
    assert len(found.rows) == 21
    assert "and 5 more rows" in found.text
    assert (cell(True), cell(None), cell(3), cell(0.123456)) == ("yes", "", "3", "0.1235")
    assert len(cell("x" * 100)) == 60


def test_a_document_without_parts_is_its_values() -> None:
    assert "kind report" in read(document_table({"kind": "report", "files": ["a"], "warnings": []})).text
