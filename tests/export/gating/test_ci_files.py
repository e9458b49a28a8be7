import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from sample_documents import accuracy, flip, gate, latency, region

from lorkit.decompose.documents.baselines import Replacement
from lorkit.decompose.documents.gate import GateDocument
from lorkit.decompose.machine import fingerprint
from lorkit.export.gating.ci_files import workflow_commands, write_junit, write_markdown


def document(verdict: str = "fail", **changes: Any) -> GateDocument:
    slow = latency(verdict=verdict, ratio=1.1, ci=[1.05, 1.15], seconds=2.5)
    reasons = ["takes 1.1 times <as long>,\n100% sure", "ok"]
    block = region(**{"verdict": verdict, "latency_test": slow, "reasons": reasons, **changes})
    machine = {**fingerprint(), "cpu": "a_b*c", "threads": 2}
    return gate({"chest|<b>": block}, verdict=verdict, machine=machine)


def test_junit_holds_a_suite_a_region_and_a_case_a_check(tmp_path: Path) -> None:
    write_junit(document(), tmp_path / "gate.xml")
    root = ElementTree.parse(tmp_path / "gate.xml").getroot()
    assert root.tag == "testsuites"
    (suite,) = root
    assert (suite.get("name"), suite.get("tests"), suite.get("failures"), suite.get("skipped")) == (
        "chest|<b>",
        "3",
        "1",
        "0",
    )
    cases = {case.get("name"): case for case in suite.iter("testcase")}
    assert set(cases) == {"deterministic", "latency", "accuracy"}
    failure = cases["latency"].find("failure")
    assert failure is not None
    assert failure.get("message") == "FAIL"
    assert "<as long>" in str(failure.text)
    assert cases["latency"].get("time") == "2.500"


@pytest.mark.parametrize(("policy", "tag"), [("inconclusive", "skipped"), ("fail", "failure"), ("pass", "system-out")])
def test_what_is_inconclusive_follows_the_policy(tmp_path: Path, policy: str, tag: str) -> None:
    write_junit(document("inconclusive"), tmp_path / "gate.xml", policy)
    case = ElementTree.parse(tmp_path / "gate.xml").getroot().find(".//testcase[@name='latency']")
    assert case is not None
    assert [child.tag for child in case] == [tag]


def test_what_xml_cannot_hold_is_replaced(tmp_path: Path) -> None:
    write_junit(document(reasons=["bell \x07 and \x00"]), tmp_path / "gate.xml")
    assert "\N{REPLACEMENT CHARACTER}" in (tmp_path / "gate.xml").read_text(encoding="utf-8")
    ElementTree.parse(tmp_path / "gate.xml")


def test_an_annotation_is_one_line_and_cannot_start_another(tmp_path: Path) -> None:
    hostile = document(reasons=["a\n::error::b"])
    (line,) = workflow_commands(hostile)
    assert line == "::error title=gate chest|<b>%3A FAIL::a%0A::error::b"
    assert workflow_commands(document("pass"))[0].startswith("::notice title=")
    assert workflow_commands(document("inconclusive"))[0].startswith("::warning title=")


def test_the_reason_that_stops_a_region_is_said_before_those_that_do_not(tmp_path: Path) -> None:
    told = {
        "deterministic": ["few bytes"],
        "latency_test": ["too slow"],
        "accuracy_test": ["as good"],
        "budget_test": [],
    }
    judged = document(reasons=["few bytes", "too slow", "as good", "two flips"], reasons_by_check=told)
    (line,) = workflow_commands(judged)
    assert line.endswith("::too slow%0Afew bytes%0Aas good%0Atwo flips")
    write_markdown(judged, tmp_path / "gate.md")
    said = re.findall("^- (.+)$", (tmp_path / "gate.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert said[:4] == ["too slow", "few bytes", "as good", "two flips"]


def test_markdown_says_the_verdict_first_and_escapes_names(tmp_path: Path) -> None:
    write_markdown(document(), tmp_path / "gate.md")
    text = (tmp_path / "gate.md").read_text(encoding="utf-8")
    lines = text.splitlines()
    assert lines[0] == "### Gate: \N{CROSS MARK} FAIL"
    assert text.endswith("seed 0\n")
    head = next(number for number, line in enumerate(lines) if line.startswith("| region |"))
    assert (lines[head - 1], lines[head + 1][:5]) == ("", "|---|")
    row = "| chest\\|&lt;b&gt; | \N{CROSS MARK} FAIL | 1.100 [1.050,&nbsp;1.150] | \N{MINUS SIGN}0.001 "
    assert lines[head + 2].startswith(row)
    assert "<b>" not in text
    for number, line in enumerate(lines):  # else what lies inside is shown as it is written
        assert not line.startswith("<details") or lines[number - 1] == lines[number + 1] == ""
    assert text.count("<details") == text.count("</details>") == 1


def test_what_stops_the_merge_comes_first_and_is_unfolded(tmp_path: Path) -> None:
    (block,) = document().regions.values()
    order = (("brain", "inconclusive"), ("abdomen", "pass"), ("chest|<b>", "fail"))
    write_markdown(gate({name: block.with_changes(verdict=verdict) for name, verdict in order}), tmp_path / "gate.md")
    text = (tmp_path / "gate.md").read_text(encoding="utf-8")
    assert re.findall("<details( open|)><summary>([a-z]+)", text) == [
        (" open", "chest"), (" open", "brain"), ("", "abdomen"),
    ]  # fmt: skip


@pytest.mark.parametrize("entries", [[], [{"key": "a/b/c/d", "replaced": None, "by": "1" * 64, "because": "new|<i>"}]])
def test_markdown_says_who_replaced_what(tmp_path: Path, entries: list[dict[str, Any]]) -> None:
    entries = [entry | {"verdict": "pass", "who": "ward", "when": "now"} for entry in entries]
    replaced = [Replacement.model_validate(entry) for entry in entries]
    write_markdown(document().with_changes(replaced_baselines=replaced), tmp_path / "gate.md")
    text = (tmp_path / "gate.md").read_text(encoding="utf-8")
    row = "| a/b/c/d | \N{EN DASH} | 111111111111 | ward | new\\|&lt;i&gt; |"
    assert (row in text, "The baselines are unchanged." in text) == (bool(entries), not entries)


def test_each_check_in_junit_gives_its_own_reasons(tmp_path: Path) -> None:
    own = {"deterministic": ["bytes"], "latency_test": ["slow", "noisy"], "accuracy_test": [], "budget_test": []}
    write_junit(document(reasons_by_check=own), tmp_path / "gate.xml")
    cases = {case.get("name"): case for case in ElementTree.parse(tmp_path / "gate.xml").getroot().iter("testcase")}
    assert [(cases[name][0].text or "") for name in ("deterministic", "latency", "accuracy")] == [
        "bytes",
        "slow\nnoisy",
        "",
    ]


def test_markdown_names_the_cases_that_changed(tmp_path: Path) -> None:
    flips = [flip("ab" * 32, truth="ill", baseline="ill", candidate="well")]
    write_markdown(document(accuracy_test=accuracy(changed_answers=flips)), tmp_path / "gate.md")
    assert "| abababababababab | ill | ill | well | worsened |" in (tmp_path / "gate.md").read_text(encoding="utf-8")
