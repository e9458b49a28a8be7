"""`decompose data`: inspect the data before training."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lorkit.cli import options


def data(
    config: options.ConfigPath = None,
    settings: options.Settings = None,
    sheet: Annotated[
        Path | None, typer.Option(metavar="PNG", help="Write a contact sheet. It shows images of patients.")
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Inspect the data before training on it.

    Shows counts, balance, groups, leaks between splits and the speed of the loader. Can draw a contact sheet.
    """
    from lorkit.cli.output import tables
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
        document["sheet"] = str(contact_sheet(samples, sheet))
    if as_json:
        print_json(document)
    elif sheet is not None:
        print_result(str(sheet))
