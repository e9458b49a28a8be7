"""`decompose compare`: compare methods under the same conditions."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from lorkit.cli import completion, options

Methods: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="NAME,NAME",
        autocompletion=completion.methods,
        help="Methods to compare. Default: stl, mtl, lorkd; of graphs RAGFormer and its baselines.",
    ),
]
Variants: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--variant", metavar="LABEL:METHOD:A.B=C,...", help="A method with its own settings. Can be repeated."
    ),
]
Budget: TypeAlias = Annotated[
    str,
    typer.Option(
        metavar="steps|epochs", help="What networks per region share with joint ones: optimiser steps, or epochs."
    ),
]
Controls: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--controls",
        help="Add the controls of distillation: the student alone, a linear probe, and a random teacher for each "
        "method that learns from the foundation.",
    ),
]


def compare(
    config: options.ConfigPath = None,
    methods: Methods = None,
    variant: Variants = None,
    seeds: Annotated[str, typer.Option(metavar="N,N", help="Seeds.")] = "0",
    fractions: Annotated[str, typer.Option(metavar="F,F", help="Fractions of the training groups.")] = "1",
    unlabelled_rest: Annotated[
        bool,
        typer.Option("--unlabelled-rest", help="Use the patients that a fraction leaves out as unlabelled images."),
    ] = False,
    split: Annotated[
        str,
        typer.Option(
            metavar="test|val", help="Part to evaluate on. Use val to choose settings; the test part is then not read."
        ),
    ] = "test",
    budget: Budget = "steps",
    controls: Controls = False,
    settings: options.Settings = None,
    out: options.ComparisonsOut = Path("comparisons"),
    as_json: options.Json = False,
) -> None:
    """Compare methods on the same data and split.

    Finished trainings are kept: the same command continues an interrupted comparison. Several commands can run at once.
    The page (comparison.html), table, pictures and document are in the directory of the comparison.
    """
    from lorkit.cli.output import comparison_tables, next_steps, tables
    from lorkit.cli.output.progress import ProgressLine
    from lorkit.cli.output.streams import print_json
    from lorkit.decompose import compare as run_all
    from lorkit.decompose import load_config
    from lorkit.export.reporting.comparison.pages import comparison_files

    rest = ["unlabelled.rest=true"] if unlabelled_rest else []
    loaded = load_config(config, overrides=[*(settings or ()), *rest])
    numbers, shares = (
        options.whole_numbers("--seeds", seeds, most=options.MOST_SEED),
        options.fractions("--fractions", fractions),
    )
    with ProgressLine() as progress:
        events = options.BuiltInSaid(config, progress)
        document = run_all(
            loaded,
            methods=None if methods is None else options.comma_separated(methods),
            variants=variant or (),
            seeds=numbers,
            fractions=shares,
            split=split,
            budget=budget,
            controls=controls,
            out=out,
            pages=comparison_files,
            teacher=options.onnx_teacher(loaded),
            on_event=events,
        )
        events.say()
    comparison_tables.comparison(document)
    page = "comparison.html" if document.split == "test" else f"comparison-{document.split}.html"
    tables.line(f"{out / document.id / page}: the page, with intervals, protocol and the command that repeats it")
    if as_json:
        print_json(document)
    next_steps.after_comparison(document, [*([str(config)] if config else []), *next_steps.settings_words(settings)])
