"""`decompose extract`: plain networks out of a run, one a region."""

from __future__ import annotations

from typing import Annotated

import typer

from lorkit.cli import options


def extract(
    run: options.RunName = None,
    region: options.RegionName = "all",
    recalibrate: Annotated[
        bool, typer.Option("--recalibrate", help="Measure batch-norm statistics on the region's own training images.")
    ] = False,
    out: options.ExpertsOut = None,
    force: options.Force = False,
    as_json: options.Json = False,
) -> None:
    """Take experts out of a run as plain networks.

    Each has original classes and keys, a model card, and a proof that it equals the live model.
    """
    from lorkit.cli.progress import Steps
    from lorkit.cli.streams import emit, note, say
    from lorkit.decompose import extract as take_out

    with Steps("extract") as progress:
        results = take_out(run, region=region, recalibrate=recalibrate, out=out, force=force, on_progress=progress)
    if as_json:
        emit({"experts": [vars(result) for result in results]}, kind="extract")
        return
    for result in results:
        state = "up to date" if result.up_to_date else "extracted"
        note(f"{state}: {result.region}, largest difference from the live model {result.max_difference:.1e}")
        say(str(result.path))
