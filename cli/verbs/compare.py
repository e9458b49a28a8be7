"""`decompose compare`: methods side by side in one harness."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lorkit.cli import options


def compare(
    config: options.ConfigPath = None,
    methods: Annotated[str, typer.Option(metavar="NAME,NAME", help="Methods to compare.")] = "stl,mtl,lorkd",
    variant: Annotated[
        list[str] | None,
        typer.Option(
            "--variant",
            metavar="LABEL:METHOD:A.B=C,...",
            help="A method with settings of its own; may be repeated.",
            show_default=False,
        ),
    ] = None,
    seeds: Annotated[str, typer.Option(metavar="N,N", help="Seeds to repeat with.")] = "0",
    fractions: Annotated[str, typer.Option(metavar="F,F", help="Fractions of the training groups.")] = "1",
    split: Annotated[
        str, typer.Option(metavar="test|val", help="Which part judges; val to choose settings, the test part unread.")
    ] = "test",
    settings: options.Settings = None,
    out: options.ComparisonsOut = Path("comparisons"),
    as_json: options.Json = False,
) -> None:
    """Compare methods on the same data and split.

    Finished cells are kept, so the same command continues an interrupted comparison, and commands may run side by side.
    Table, picture and document lie in the comparison's directory.
    """
    from lorkit.cli.output import tables
    from lorkit.cli.output.progress import Training
    from lorkit.cli.output.streams import print_json
    from lorkit.decompose import compare as run_all
    from lorkit.decompose import load_config
    from lorkit.export.reporting.comparison.pages import pages

    loaded = load_config(config, overrides=settings or ())
    with Training() as progress:
        document = run_all(
            loaded,
            methods=options.comma_separated(methods),
            variants=variant or (),
            seeds=options.whole_numbers("--seeds", seeds),
            fractions=options.fractions("--fractions", fractions),
            split=split,
            out=out,
            pages=pages,
            teacher=options.onnx_teacher(loaded),
            on_event=progress,
        )
    tables.comparison(document)
    tables.line(f"{out / document['id']}/: all that was ever compared there, with intervals and a picture")
    if as_json:
        print_json(document)
