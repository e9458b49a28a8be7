"""The report of a run: one HTML file without network access, Markdown for pull requests, JSON for programs."""

from __future__ import annotations

from pathlib import Path

from lorkit.decompose.artifacts import (
    digest_file,
    digest_json,
    is_current,
    staged_directory,
    write_manifest,
    write_text,
)
from lorkit.decompose.documents.report import ReportDocument, ReportFiles
from lorkit.decompose.errors import UsageError
from lorkit.decompose.events import Listener, ignore
from lorkit.decompose.runs import open_run
from lorkit.decompose.runs.locked_data import RunSplits
from lorkit.export import rendering
from lorkit.export.reporting.document import report_document

HTML, MARKDOWN, JSON = FILES = ("report.html", "report.md", "report.json")
# files that determine the pages: a change makes every report out of date
_DRAWN_BY = [
    path
    for folder in (Path(__file__).parent, Path(rendering.__file__).parent)
    for path in sorted(folder.rglob("*"))
    if path.suffix in (".py", ".jinja", ".css", ".js")
]


def report(
    run: Path | str | None = None,
    *,
    against: Path | str | None = None,
    force: bool = False,
    on_event: Listener = ignore,
) -> ReportFiles:
    """Write the report of a run, with new measurements for missing ones.

    Args:
        run: The run, by path or id; the newest by default.
        against: Another run to compare with, by path or id.
        force: Write the report again although nothing changed.
        on_event: Receives progress.

    Returns:
        The paths of `report.html`, `report.md` and `report.json`, and whether they existed already.

    Raises:
        UsageError: No such run, or a run against itself.
        ArtifactError: The run, or an artifact in the report, is damaged.
    """
    home = open_run(run)
    other = None if against is None else open_run(against)
    if other is not None and other.manifest.digest == home.manifest.digest:
        raise UsageError(f"run {home.id} against itself", required="another run", fix="name one with --against")
    splits = RunSplits(home)
    document = report_document(splits, on_event=on_event)
    if other is not None:
        document = _with_changes(document, splits, RunSplits(other), on_event)
    inputs = _inputs(document)
    up_to_date = not force and is_current(home.report_dir, "report", inputs)
    if not up_to_date:
        from lorkit.export.reporting.pages import render_html, render_markdown

        with staged_directory(home.report_dir) as staging:
            document.write(staging / JSON)
            write_text(staging / HTML, render_html(document))
            write_text(staging / MARKDOWN, render_markdown(document))
            write_manifest(staging, "report", synthetic=document.synthetic, parent=home.manifest, inputs=inputs)
    return ReportFiles(files=[home.report_dir / name for name in FILES], up_to_date=up_to_date)


def _with_changes(document: ReportDocument, home: RunSplits, other: RunSplits, on_event: Listener) -> ReportDocument:
    from lorkit.export.reporting.changes import changes  # with what judges

    then = report_document(other, on_event=on_event)
    *commands, last = document.commands  # the last one makes the report
    return document.with_changes(
        changes_since=changes(home, other, document, then, on_event),
        commands=[*commands, f"{last} --against {other.run.selector}"],
    )


def _inputs(document: ReportDocument) -> str:
    """Return the digest of the report's content, without its time, and of its templates."""
    shown = document.to_json() | {"created": None}
    return digest_json({"document": shown, "sources": [digest_file(path) for path in _DRAWN_BY]})
