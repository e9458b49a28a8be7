"""`decompose data`: inspect the data before training."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lorkit.cli import options
from lorkit.decompose.errors import UsageError


def data(
    config: options.ConfigPath = None,
    settings: options.Settings = None,
    sheet: Annotated[
        Path | None, typer.Option(metavar="PNG", help="Write a contact sheet. It shows images of patients.")
    ] = None,
    find: Annotated[
        str | None,
        typer.Option(metavar="DIGEST", help="Name the file of a case of a report instead, by the start of its digest."),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Inspect the data before training on it.

    Shows counts, balance, groups, leaks between splits and the speed of the loader. Can draw a contact sheet.
    `data runs/ID/config.yaml --find DIGEST` finds a case of that run.
    """
    if find is not None:
        if sheet is not None:
            raise UsageError("--find with --sheet", required="one of them", fix="leave one out")
        _find(config, settings, find, as_json)
        return
    from lorkit.cli.output import next_steps, tables
    from lorkit.cli.output.progress import ProgressLine
    from lorkit.cli.output.streams import print_json, print_result
    from lorkit.decompose import load_config
    from lorkit.decompose.data import read_regions
    from lorkit.decompose.data.contact_sheet import contact_sheet
    from lorkit.decompose.data.inspection import inspect

    loaded = load_config(config, overrides=settings or ())
    with ProgressLine() as progress:
        samples = read_regions(loaded, progress)
        document = inspect(loaded, samples, progress)
    tables.inspection(document)
    if sheet is not None:
        document = document.with_changes(sheet=contact_sheet(samples, sheet))
    if as_json:
        print_json(document)
    elif sheet is not None:
        print_result(str(sheet))
    words = [config, *next_steps.settings_words(settings)]
    next_steps.suggest(*(next_steps.command("train", *words, *how) for how in (["--dry-run"], [])))


def _find(config: Path | None, settings: list[str] | None, digest: str, as_json: bool) -> None:
    """Print the files of the samples whose digest begins so."""
    from lorkit.cli.output.next_steps import command, suggest
    from lorkit.cli.output.progress import ProgressLine
    from lorkit.cli.output.streams import print_json, print_result
    from lorkit.decompose import load_config
    from lorkit.decompose.data.finding import find
    from lorkit.decompose.runs import RUNS

    # a run's own configuration names the directory of runs, whose key the digests have
    of_run = config is not None and (config.parent / "manifest.json").is_file()
    runs = config.resolve().parent.parent if config is not None and of_run else RUNS
    with ProgressLine() as progress:
        document = find(load_config(config, overrides=settings or ()), digest, runs=runs, on_event=progress)
    if as_json:
        print_json(document)
        return
    for case in document.found:
        about = [case.region, case.part or "no part", f"group {case.group}", *([case.target] if case.target else [])]
        print_result("\t".join([case.digest[:12], case.name, case.source, *about]))
    named = document.found[0].name
    suggest(*([command("inspect", named)] if Path(named).is_file() else []))
