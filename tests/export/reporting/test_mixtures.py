"""Networks for several regions in the report."""

from __future__ import annotations

import re
from collections.abc import Callable

from mixtures import RegionIdNetwork

from lorkit.decompose.events import ignore
from lorkit.decompose.runs import Run
from lorkit.decompose.runs.locked_data import RunSplits
from lorkit.export.gating.gating import gate
from lorkit.export.reporting.document import report_document
from lorkit.export.reporting.pages import render_html, render_markdown
from lorkit.export.runtime.exported import Exported


def test_they_have_a_section_with_costs_latency_and_the_verdict_of_each_head(
    measured: Run, export_mixture: Callable[..., Exported]
) -> None:
    router = export_mixture("router", run=measured, abstain_below=0.25)
    known = export_mixture("region-id", RegionIdNetwork(measured.regions), run=measured, precision="fp16")
    gate(measured.path, region="router", max_seconds=0.2, max_accuracy_drop=0.05)
    document = report_document(RunSplits(measured), on_event=ignore)
    assert [(row.name, row.precision, row.digest) for row in document.mixtures] == [
        ("router", "fp32", router.manifest.digest), ("region-id", "fp16", known.manifest.digest)
    ]  # fmt: skip
    assert {row.region for row in document.table} == {"chest", "knee"}
    first = document.mixtures[0]
    assert (first.policy, first.abstain_below, first.region_names) == ("routed", 0.25, ["chest", "knee"])
    assert first.latency is not None
    assert first.latency.median_ms > 0
    assert first.path == "exports/router/onnx-cpu-generic-fp32"
    assert any(command.startswith("decompose predict") for command in first.commands)
    assert not any(command.startswith("decompose predict") for command in document.mixtures[1].commands)
    assert "decompose extract --run by-hand --router" in document.commands
    assert {link.name for link in document.chain} >= {row.path for row in document.mixtures}
    html = render_html(document)
    headings = re.findall(r'<h2 id="(\w+)"', html)
    assert "mixtures" in headings
    contents = html[html.index("<nav") : html.index("</nav>")]
    assert re.findall(r'href="#(\w+)"', contents) == headings
    section = html[html.index('<section aria-labelledby="mixtures">') :]
    section = section[: section.index("</section>")]
    for text in ("none below a confidence of 0.250", "parity passed", router.manifest.digest, "batches 1, 3, 8, 17"):
        assert text in section, text
    rows = re.findall(r'<tr[^>]*><th scope="row"[^>]*>(\w+)</th><td[^>]*>(\w+)</td>', section)
    assert [name for name, _ in rows] == ["chest", "knee"]
    assert "| chest, knee | router onnx fp32 | 100 |" in render_markdown(document)


def test_a_run_without_them_has_no_section(measured: Run) -> None:
    document = report_document(RunSplits(measured), on_event=ignore)
    assert document.mixtures == []
    assert 'id="mixtures"' not in render_html(document)
