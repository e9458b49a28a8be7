"""`decompose gate`: are the experts fast and accurate enough to replace the foundation model?"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from lorkit.cli import options


class Policy(StrEnum):
    """What an inconclusive verdict does to the exit code."""

    inconclusive = "inconclusive"
    passes = "pass"
    fails = "fail"


def gate(
    run: options.RunName = None,
    baseline: Annotated[
        Path | None, typer.Option(metavar="PATH", help="Export to beat. Default: the foundation's.", show_default=False)
    ] = None,
    candidate: Annotated[
        Path | None, typer.Option(metavar="PATH", help="Export to judge. Default: the experts'.", show_default=False)
    ] = None,
    region: options.RegionName = "all",
    target: options.TargetName = None,
    profile: options.ProfileName = None,
    precision: options.PrecisionName = None,
    margin: Annotated[float, typer.Option(help="Allowed growth of latency, bytes and MACs, as a fraction.")] = 0.03,
    max_accuracy_drop: Annotated[float, typer.Option(help="Allowed drop of accuracy, as a fraction.")] = 0.02,
    data: options.DataFile = None,
    max_seconds: Annotated[float, typer.Option(help="Time for all latency measurements together.")] = 60.0,
    on_inconclusive: Annotated[Policy, typer.Option(help="Map exit code 3 to 0 or 1.")] = Policy.inconclusive,
    seed: Annotated[int, typer.Option(help="Seed of inputs, orders and intervals.")] = 0,
    as_json: options.Json = False,
) -> None:
    """Judge the experts against the foundation model.

    On latency, accuracy, bytes and MACs; exit 0 PASS, 1 FAIL, 3 INCONCLUSIVE.
    """
    from lorkit.cli import sheets
    from lorkit.cli.progress import Steps
    from lorkit.cli.streams import emit, say
    from lorkit.export import gate as judge
    from lorkit.export.gating import exit_code

    with Steps("gate") as progress:
        document = judge(
            run,
            baseline=baseline,
            candidate=candidate,
            region=region,
            target=target,
            profile=profile,
            precision=precision,
            margin=margin,
            max_accuracy_drop=max_accuracy_drop,
            data=data,
            max_seconds=max_seconds,
            on_inconclusive=on_inconclusive.value,
            seed=seed,
            on_progress=progress,
        )
    sheets.verdicts(document)
    emit(document) if as_json else say(f"gate: {document['verdict'].upper()}")
    raise typer.Exit(exit_code(document))
