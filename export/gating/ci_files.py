"""What continuous integration reads of a gate: JUnit XML, Markdown, and annotations of a job."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from lorkit.decompose.artifacts import write_text
from lorkit.export.gating.limits import VERDICTS
from lorkit.export.rendering.templates import environment

CHECKS = ("deterministic", "latency", "accuracy", "budget")
_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_LEVELS = {"fail": "error", "inconclusive": "warning", "pass": "notice"}
_BREAKS = [("%", "%25"), ("\r", "%0D"), ("\n", "%0A")]


def write_junit(document: Mapping[str, Any], path: Path, policy: str | None = None) -> None:
    """Write a gate as JUnit XML: one suite per region, one case per check.

    FAIL is a failure. INCONCLUSIVE is skipped, with its reasons, unless the policy maps it to a failure or to a pass.

    Args:
        document: What `gate` returned.
        path: The file.
        policy: `--on-inconclusive`; by default that of the document.
    """
    policy = policy or str(document.get("on_inconclusive", "inconclusive"))
    root = ElementTree.Element("testsuites", name="decompose gate")
    for region, block in document["regions"].items():
        suite = ElementTree.SubElement(root, "testsuite", name=_xml(region), timestamp=document["created"])
        ElementTree.SubElement(ElementTree.SubElement(suite, "properties"), "property", _subject(block))
        for name, check in _checks(block):
            seconds = float(check.get("seconds") or 0.0)
            attributes = {"classname": f"gate.{_xml(region)}", "name": name, "time": f"{seconds:.3f}"}
            case = ElementTree.SubElement(suite, "testcase", attributes)
            _outcome(case, str(check["verdict"]), policy, _reasons(block, name))
        _count(suite)
    _count(root)
    ElementTree.indent(root)
    text = ElementTree.tostring(root, encoding="unicode", xml_declaration=False)
    write_text(path, f'<?xml version="1.0" encoding="utf-8"?>\n{text}\n')


def write_markdown(document: Mapping[str, Any], path: Path) -> None:
    """Write a gate as Markdown for a pull request: verdicts first, reasons folded."""
    template = environment(Path(__file__).parent).get_template("gate.md.jinja")
    write_text(path, template.render(gate=document, regions=_worst_first(document)))


def workflow_commands(document: Mapping[str, Any]) -> list[str]:
    """Return workflow commands of GitHub Actions: a verdict with its reasons a region, then the warnings."""
    lines = []
    for region, block in _worst_first(document).items():
        title = _command(f"gate {region}: {block['verdict'].upper()}").replace(":", "%3A").replace(",", "%2C")
        message = _command("\n".join(map(str, block["reasons"])) or block["verdict"])
        lines.append(f"::{_LEVELS[block['verdict']]} title={title}::{message}")
    return lines + [f"::warning title=gate::{_command(text)}" for text in document["warnings"]]


def _worst_first(document: Mapping[str, Any]) -> dict[str, Any]:
    """Order regions, and the reasons of each, by verdict: a shortened comment still says what stops the merge."""
    regions = sorted(document["regions"].items(), key=lambda item: -VERDICTS.index(item[1]["verdict"]))
    return {region: {**block, "reasons": _worst_reasons(block)} for region, block in regions}


def _worst_reasons(block: Mapping[str, Any]) -> list[str]:
    """Return the sentences of a region, those of the checks that stop it before all others."""
    told = block.get("reasons_by_check") or {}
    stopping = [
        text for name, check in _checks(block) if check["verdict"] == block["verdict"] for text in told.get(name) or ()
    ]
    return [*stopping, *(text for text in block.get("reasons") or () if text not in stopping)]


def _checks(block: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for name in CHECKS:
        check = block.get(name)
        if isinstance(check, Mapping) and check.get("verdict") in _LEVELS:
            yield name, check


def _reasons(block: Mapping[str, Any], name: str) -> str:
    """Return the sentences of one check; all of the region where a gate did not tell them apart."""
    found = (block.get("reasons_by_check") or {}).get(name, block.get("reasons"))
    return _xml("\n".join(map(str, found or ())))


def _outcome(case: ElementTree.Element, verdict: str, policy: str, told: str) -> None:
    failed = verdict == "fail" or (verdict == "inconclusive" and policy == "fail")
    if failed:
        ElementTree.SubElement(case, "failure", message=verdict.upper(), type=verdict).text = told
    elif verdict == "inconclusive" and policy != "pass":
        ElementTree.SubElement(case, "skipped", message=f"INCONCLUSIVE: {told}")
    else:
        ElementTree.SubElement(case, "system-out").text = told


def _count(element: ElementTree.Element) -> None:
    cases = list(element.iter("testcase"))
    element.set("tests", str(len(cases)))
    for name, tag in (("failures", "failure"), ("skipped", "skipped")):
        element.set(name, str(sum(case.find(tag) is not None for case in cases)))
    element.set("errors", "0")


def _subject(block: Mapping[str, Any]) -> dict[str, str]:
    digests = [(block.get(side) or {}).get("digest") or "none" for side in ("baseline", "candidate")]
    return {"name": "digests", "value": f"baseline {digests[0]}, candidate {digests[1]}"}


def _xml(text: object) -> str:
    """Drop what XML 1.0 cannot hold at all; the rest is escaped by the writer."""
    return _FORBIDDEN.sub("\N{REPLACEMENT CHARACTER}", str(text))


def _command(text: str) -> str:
    for sign, code in _BREAKS:
        text = text.replace(sign, code)
    return text
