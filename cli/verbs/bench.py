"""`decompose bench`: latency, throughput and memory of exports."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lorkit.cli import options


def bench(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(metavar="PATH...", help="Exports, instead of a run.", callback=options.existing),
    ] = None,
    run: options.RunName = None,
    region: options.RegionName = "all",
    target: options.TargetName = None,
    profile: options.ProfileName = None,
    precision: options.PrecisionName = None,
    batch: Annotated[str, typer.Option(metavar="N,N", help="Batch sizes.")] = "1",
    threads: Annotated[str, typer.Option(metavar="N,N", help="Numbers of threads. 0: chosen by the runtime.")] = "1",
    against: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="An export to compare with, in pairs.", callback=options.existing),
    ] = None,
    image: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Image for the time from file to prediction. Default: a drawn one.",
            callback=options.existing,
        ),
    ] = None,
    max_seconds: options.Seconds = 60.0,
    seed: options.Seed = 0,
    trust_native: options.TrustNative = False,
    as_json: options.Json = False,
) -> None:
    """Measure latency, throughput and memory of exports."""
    from lorkit.cli.output import export_tables, next_steps
    from lorkit.cli.output.progress import ProgressLine
    from lorkit.cli.output.streams import print_json
    from lorkit.export import bench as measure

    with ProgressLine("bench") as progress:
        document = measure(
            paths,
            run=run,
            region=region,
            target=target,
            profile=profile,
            precision=precision,
            batch=options.whole_numbers("--batch", batch, most=options.MOST_BATCH),
            threads=[count or None for count in options.whole_numbers("--threads", threads, most=options.MOST_THREADS)],
            against=against,
            image=image,
            max_seconds=max_seconds,
            seed=seed,
            on_event=progress,
        )
    export_tables.benchmark(document)
    if as_json:
        print_json(document)
    next_steps.after_check(paths[0] if paths else None, run, other="verify")
