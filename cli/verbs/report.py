"""`decompose report`: all measurements of a run on one page."""

from __future__ import annotations

from typing import Annotated

import typer

from lorkit.cli import options


def report(
    run: options.RunName = None,
    against: Annotated[str | None, typer.Option(metavar="ID|PATH", help="Show what changed since this run.")] = None,
    force: options.Force = False,
    trust_native: options.TrustNative = False,
    as_json: options.Json = False,
) -> None:
    """Write the report of a run.

    Writes report.html (one file, no network needed), report.md and report.json.
    """
    from lorkit.cli.output.next_steps import after_report
    from lorkit.cli.output.progress import ProgressLine
    from lorkit.cli.output.streams import print_json, print_result, print_status
    from lorkit.export import report as write

    with ProgressLine("report") as progress:
        result = write(run, against=against, force=force, on_event=progress)
    if as_json:
        print_json(result)
        return
    if result.up_to_date:
        print_status("up to date: report")
    for path in result.files:
        print_result(str(path))
    after_report(run)
