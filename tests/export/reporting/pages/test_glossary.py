import re

from lorkit.export.reporting.pages.glossary import PLACE, TERMS, with_glossary


def explained(body: str) -> list[str]:
    return re.findall(r"<dt>(.*?)</dt>", with_glossary(f"<style>.ECE {{}}</style><p>{body}</p><dl>{PLACE}</dl>"))


def test_a_page_explains_the_terms_that_it_uses() -> None:
    assert explained("<td>MACs</td><small>p99 3 ms</small>") == ["MACs", "p90, p99"]
    assert explained("smallest decidable drop; <th>Level</th>") == ["decidable", "drop", "level"]
    assert explained("nothing") == [], "styles are not text"


def test_every_term_is_a_sentence_and_found_by_its_own_name(html: str) -> None:
    for term, (pattern, words) in TERMS.items():
        assert words.endswith("."), term
        assert re.compile(pattern)
    shown = set(re.findall(r"<dt>(.*?)</dt>", html[html.index('<h2 id="terms">') :]))
    assert {"ECE", "MACs", "decidable", "level", "p90, p99", "sensitivity", "NPV", "parity"} <= shown
    assert "HD95" not in shown
    assert PLACE not in html
