"""The report of a run: one HTML file without network access, Markdown for pull requests, JSON for programs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lorkit.decompose.artifacts import (
    digest_file,
    digest_json,
    is_current,
    staged_directory,
    write_json,
    write_manifest,
    write_text,
)
from lorkit.decompose.errors import UsageError
from lorkit.decompose.events import Listener, ignore
from lorkit.decompose.runs import open_run
from lorkit.export import rendering
from lorkit.export.reporting.changes import changes
from lorkit.export.reporting.document import report_document
from lorkit.export.reporting.pages import render_html, render_markdown

FILES = ("report.html", "report.md", "report.json")
# files that determine the pages: a change makes every report out of date
_DRAWN_BY = [
    path
    for folder in (Path(__file__).parent, Path(rendering.__file__).parent)
    for path in sorted(folder.rglob("*"))
    if path.suffix in (".py", ".jinja", ".css", ".js")
]


@dataclass(frozen=True, kw_only=True)
class ReportResult:
    """A report on disk.

    Attributes:
        files: `report.html`, `report.md` and `report.json`.
        up_to_date: They existed already, and their content has not changed.
    """

    files: list[Path]
    up_to_date: bool


def report(
    run: Path | str | None = None,
    *,
    against: Path | str | None = None,
    force: bool = False,
    on_event: Listener = ignore,
) -> ReportResult:
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
    document = report_document(home, on_event=on_event)
    if other is not None:
        then = report_document(other, on_event=on_event)
        document["against"] = changes(home, other, document, then, on_event)
        document["commands"] = _named_against(document["commands"], other.id)
    inputs = _inputs(document)
    paths = [home.report_dir / name for name in FILES]
    if not force and is_current(home.report_dir, "report", inputs):
        return ReportResult(files=paths, up_to_date=True)
    with staged_directory(home.report_dir) as staging:
        write_json(staging / "report.json", document)
        write_text(staging / "report.html", render_html(document))
        write_text(staging / "report.md", render_markdown(document))
        write_manifest(staging, "report", synthetic=document["synthetic"], parent=home.path, inputs=inputs)
    return ReportResult(files=paths, up_to_date=False)


def _inputs(document: Mapping[str, Any]) -> str:
    """Return the digest of the report's content, without its time, and of its templates."""
    shown = {name: value for name, value in document.items() if name != "created"}
    return digest_json({"document": shown, "sources": [digest_file(path) for path in _DRAWN_BY]})


def _named_against(commands: list[str], other: str) -> list[str]:
    return [f"{line} --against {other}" if line.startswith("decompose report") else line for line in commands]
