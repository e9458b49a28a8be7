"""`decompose train`: from a configuration to a run."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from lorkit.cli import options


def train(
    config: options.ConfigPath = None,
    method: options.MethodName = None,
    settings: options.Settings = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue an interrupted run.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan; train and write nothing.")] = False,
    out: options.RunsOut = Path("runs"),
    force: options.Force = False,
    as_json: options.Json = False,
) -> None:
    """Decompose a foundation model into one expert a region.

    Trains the shared student, the experts and the heads together, and writes runs/<id>/.
    """
    from lorkit.cli.progress import Training
    from lorkit.cli.streams import emit, note, say
    from lorkit.decompose import load_config
    from lorkit.decompose import train as decompose

    loaded = load_config(config, overrides=settings or (), method=method)
    with Training() as progress:
        result = decompose(loaded, out=out, resume=resume, force=force, dry_run=dry_run, on_event=progress)
    if as_json:
        emit(asdict(result), kind="train")
    elif result.plan is not None:
        from lorkit.cli import render

        render.plan(result.plan)
    else:
        note(f"{'up to date' if result.up_to_date else 'trained'}: {', '.join(result.regions)}")
        say(str(result.run))
