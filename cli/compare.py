"""`decompose compare`: methods side by side in one harness."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lorkit.cli import options


def compare(
    config: options.ConfigPath = None,
    methods: Annotated[str, typer.Option(metavar="NAME,NAME", help="Methods to compare.")] = "stl,mtl,lorkd",
    seeds: Annotated[str, typer.Option(metavar="N,N", help="Seeds to repeat with.")] = "0",
    fractions: Annotated[str, typer.Option(metavar="F,F", help="Fractions of the training groups.")] = "1",
    settings: options.Settings = None,
    out: options.ComparisonsOut = Path("comparisons"),
    as_json: options.Json = False,
) -> None:
    """Compare methods on the same data and split.

    Finished cells are kept, so the same command continues an interrupted comparison.
    """
    from lorkit.cli import render
    from lorkit.cli.progress import Training
    from lorkit.cli.streams import emit
    from lorkit.decompose import compare as run_all
    from lorkit.decompose import load_config

    loaded = load_config(config, overrides=settings or ())
    with Training() as progress:
        document = run_all(
            loaded,
            methods=options.comma_separated(methods),
            seeds=options.whole_numbers("--seeds", seeds),
            fractions=options.fractions("--fractions", fractions),
            out=out,
            on_event=progress,
        )
    render.comparison(document)
    if as_json:
        emit(document)
