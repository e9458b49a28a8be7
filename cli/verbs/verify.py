"""`decompose verify`: compare exports with their experts."""

from __future__ import annotations

from typing import Annotated

import typer

from lorkit.cli import options


def verify(
    path: options.ArtifactPath = None,
    run: options.RunName = None,
    region: options.RegionName = "all",
    target: options.TargetName = None,
    profile: options.ProfileName = None,
    precision: options.PrecisionName = None,
    data: options.DataFile = None,
    bisect: Annotated[
        bool,
        typer.Option("--bisect", help="Also find the first layer whose error exceeds the tolerance of the precision."),
    ] = False,
    trust_native: options.TrustNative = False,
    as_json: options.Json = False,
) -> None:
    """Compare exports with the networks they came from.

    Runs real inputs at several batch sizes. Reports the largest difference and the number of changed labels.
    """
    from lorkit.cli.output import export_tables, next_steps
    from lorkit.cli.output.progress import ProgressLine
    from lorkit.cli.output.streams import print_json
    from lorkit.export import verify as check

    options.one_of(path=path, run=run)
    with ProgressLine("verify") as progress:
        document = check(
            path,
            run=run,
            region=region,
            target=target,
            profile=profile,
            precision=precision,
            data=data,
            bisect=bisect,
            on_event=progress,
        )
    export_tables.parity(document)
    if as_json:
        print_json(document)
    next_steps.after_check(path, run, other="bench")
