"""Files for continuous integration: JUnit XML, Markdown, and annotations of a job."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from lorkit.decompose.artifacts import write_text
from lorkit.decompose.documents.gate import CHECKS, Accuracy, Check, GateDocument, GateRegion, Latency
from lorkit.decompose.documents.gate_costs import Budget, Deterministic
from lorkit.export.gating.limits import VERDICTS
from lorkit.export.rendering.templates import environment

_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_LEVELS = {"fail": "error", "inconclusive": "warning", "pass": "notice"}
_BREAKS = [("%", "%25"), ("\r", "%0D"), ("\n", "%0A")]


def write_junit(document: GateDocument, path: Path, policy: str | None = None) -> None:
    """Write a gate as JUnit XML: one suite per region, one case per check.

    FAIL is a failure. INCONCLUSIVE is skipped, with its reasons, unless `policy` (`--on-inconclusive`, by default that
    of the document) maps it to a failure or to a pass.
    """
    policy = policy or document.on_inconclusive
    root = ElementTree.Element("testsuites", name="decompose gate")
    for region, block in document.regions.items():
        suite = ElementTree.SubElement(root, "testsuite", name=_xml(region), timestamp=document.created)
        sides = f"baseline {block.baseline.digest or 'none'}, candidate {block.candidate.digest or 'none'}"
        properties = ElementTree.SubElement(suite, "properties")
        ElementTree.SubElement(properties, "property", name="digests", value=sides)
        for name, check in _checks(block):
            seconds = check.seconds or 0.0 if isinstance(check, Latency) else 0.0
            attributes = {
                "classname": f"gate.{_xml(region)}",
                "name": name.removesuffix("_test"),
                "time": f"{seconds:.3f}",
            }
            case = ElementTree.SubElement(suite, "testcase", attributes)
            _outcome(case, check.verdict, policy, _xml("\n".join(_told(block, name))))
        _count(suite)
    _count(root)
    ElementTree.indent(root)
    text = ElementTree.tostring(root, encoding="unicode", xml_declaration=False)
    write_text(path, f'<?xml version="1.0" encoding="utf-8"?>\n{text}\n')


def write_markdown(document: GateDocument, path: Path) -> None:
    """Write a gate as Markdown for a pull request: verdicts first, reasons folded."""
    template = environment(Path(__file__).parent).get_template("gate.md.jinja")
    write_text(path, template.render(gate=document, regions=_worst_first(document)))


def workflow_commands(document: GateDocument) -> list[str]:
    """Return workflow commands of GitHub Actions: a verdict with its reasons per region, then the warnings."""
    lines = []
    for region, block in _worst_first(document).items():
        title = _command(f"gate {region}: {block.verdict.upper()}").replace(":", "%3A").replace(",", "%2C")
        message = _command("\n".join(block.reasons) or block.verdict)
        lines.append(f"::{_LEVELS[block.verdict]} title={title}::{message}")
    return lines + [f"::warning title=gate::{_command(text)}" for text in document.warnings]


def _worst_first(document: GateDocument) -> dict[str, GateRegion]:
    """Order regions, and the reasons of each, by verdict, so that a truncated comment has the failures."""
    regions = sorted(document.regions.items(), key=lambda item: -VERDICTS.index(item[1].verdict))
    return {region: block.with_changes(reasons=_worst_reasons(block)) for region, block in regions}


def _worst_reasons(block: GateRegion) -> list[str]:
    """Return the reasons of a region, those of the checks that stop it first."""
    stopping = [text for name, check in _checks(block) if check.verdict == block.verdict for text in _told(block, name)]
    return [*stopping, *(text for text in block.reasons if text not in stopping)]


def _checks(block: GateRegion) -> Iterator[tuple[Check, Deterministic | Latency | Accuracy | Budget]]:
    checks = {name: getattr(block, name) for name in CHECKS}
    yield from ((name, check) for name, check in checks.items() if check is not None and check.verdict in _LEVELS)


def _told(block: GateRegion, name: Check) -> list[str]:
    """Return the reasons of one check; all of the region in older documents."""
    return block.reasons if block.reasons_by_check is None else block.reasons_by_check[name]


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


def _xml(text: object) -> str:
    """Remove characters that XML 1.0 does not allow; the writer escapes the rest."""
    return _FORBIDDEN.sub("\N{REPLACEMENT CHARACTER}", str(text))


def _command(text: str) -> str:
    for sign, code in _BREAKS:
        text = text.replace(sign, code)
    return text
