"""Render a report's document as pages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2

from lorkit.decompose.data.preprocessing.stages import STAGES
from lorkit.decompose.documents.base import Owner
from lorkit.decompose.documents.gate import GateRegion
from lorkit.decompose.documents.measured import Subject
from lorkit.decompose.documents.report import Evaluations, ReportDocument, ReportedRegion
from lorkit.decompose.documents.report_row import ReportRow
from lorkit.decompose.errors import plural
from lorkit.decompose.regions import Group, shared_words
from lorkit.decompose.runs import MODELS
from lorkit.decompose.tasks import get_task
from lorkit.export.rendering.tables import label_cells
from lorkit.export.rendering.templates import environment
from lorkit.export.reporting.charts.roc import shown_classes, swatch
from lorkit.export.reporting.pages.drawings import anchors, draw, label_of
from lorkit.export.reporting.pages.glossary import with_glossary
from lorkit.export.reporting.pages.headlines import headlines
from lorkit.export.reporting.pages.style import chip, page_style, shade

_HERE = Path(__file__).parent


def render_html(document: ReportDocument) -> str:
    """Return a report's document as one HTML page with its styles, script and drawings inside."""
    names = list(document.regions)
    by_region = {name: [row for row in document.table if row.region == name] for name in names}
    page = _environment(autoescape=True).get_template("report.html.jinja").render(
        **_context(document),
        **page_style(),
        tiles=headlines(document),
        by_region=by_region,
        anchors=anchors(document.table),
        drawings=draw(document),
    )  # fmt: skip
    return label_cells(with_glossary(page))


def render_markdown(document: ReportDocument) -> str:
    """Return a report's document as Markdown, for a comment on a pull request."""
    return _environment(autoescape=False).get_template("report.md.jinja").render(**_context(document))


def _context(document: ReportDocument) -> dict[str, Any]:
    """Return the names in the templates: the keys of the document, the longer ones shortened."""
    short = {"run": document.run_info, "against": document.changes_since, "headline": document.headline_metric}
    return {**dict(document), **short, "regions": list(document.regions.values()), "words": document.words}


def _environment(*, autoescape: bool) -> jinja2.Environment:
    found = environment(_HERE, autoescape=autoescape)
    found.globals.update(
        label_of=label_of, swatch=swatch, shown_classes=shown_classes, shade=shade, chip=chip,
        judged_sides=_judged_sides, shown_metrics=_shown_metrics, headline_of=_headline_of,
        counted=_counted, grouped=_grouped, stages=STAGES,
    )  # fmt: skip
    return found


def _headline_of(task: str) -> str:
    return get_task(task).headline


def _shown_metrics(
    regions: Sequence[ReportedRegion], by_region: Mapping[str, Sequence[ReportRow]], metrics: Sequence[str]
) -> list[str]:
    """Return the metrics of some regions: those of other tasks are left out, if any was measured."""
    rows = [row for region in regions for row in by_region[region.name]]
    known = [name for name in metrics if any(row.value(name) is not None for row in rows)]
    return known or list(metrics)


def _counted(region: ReportedRegion, evaluations: Evaluations) -> str:
    """Return the test cases of a region and their patients (of nodes: entities)."""
    words = shared_words([(region.task, region.grouped)])
    found = [tables for model in MODELS if (tables := evaluations.of(model, region.name)) is not None]
    n, groups = (found[0].n, found[0].groups) if found else (None, None)
    cases = plural(region.cases["test"] if n is None else n, words.counted.removesuffix("s"))
    patients = "patients unknown" if words.group == "image" else _grouped(groups, words.group)
    return ", ".join(part for part in (cases, patients) if part)


def _grouped(groups: int | None, unit: Group) -> str:
    """Return the number of patients (of nodes: entities) beside that of cases; nothing if cases are not grouped."""
    return plural(groups, unit) if groups and unit not in ("image", "node") else ""


def _judged_sides(
    rows: Sequence[ReportRow], block: GateRegion | None, foundation: bool
) -> dict[Owner, ReportRow | None]:
    """Return the rows of the expert and of what it is compared with, by owner.

    Without a foundation that is the baseline of the gate, if it is an export of the same run.
    """
    candidate, baseline = (None, None) if block is None else (block.candidate, block.baseline)
    sides: dict[Owner, ReportRow | None] = {"expert": _judged_row(rows, "expert", candidate)}
    if foundation:
        return sides | {"foundation": _judged_row(rows, "foundation", baseline)}
    known = [row for row in rows if baseline is not None and row.digest == baseline.digest and row.owner != "expert"]
    return sides | {row.owner: row for row in known[:1]}


def _judged_row(rows: Sequence[ReportRow], owner: Owner, judged: Subject | None) -> ReportRow | None:
    """Return the row of an owner that the gate judged, else the first."""
    own = [row for row in rows if row.owner == owner]
    digest = None if judged is None else judged.digest
    return next((row for row in own if row.digest == digest), own[0] if own else None)
