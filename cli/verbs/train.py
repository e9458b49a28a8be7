"""`decompose train`: train a run from a configuration."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from lorkit.cli import options

if TYPE_CHECKING:
    from lorkit.decompose.training.new_run import RunOptions

SourceRun: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--from",
        metavar="RUN|EXPERT",
        help="A finished run (--add-region, --remove-region) or an extracted expert (--method finetune).",
    ),
]
Added: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Make a new run with this additional region. The others stay unchanged, bit by bit. CONFIG describes the "
        "data of the region (default: the configuration of the run, with --set regions.NAME.data=PATH).",
    ),
]
Removed: TypeAlias = Annotated[
    str | None, typer.Option(metavar="NAME", help="Make a new run without this region. Nothing is trained.")
]
TensorboardFlag: TypeAlias = Annotated[
    bool, typer.Option("--tensorboard", help="Write curves for TensorBoard to tensorboard/ of the run.")
]


def train(
    config: options.ConfigPath = None,
    method: options.MethodName = None,
    settings: options.Settings = None,
    source: SourceRun = None,
    add_region: Added = None,
    remove_region: Removed = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue an interrupted run.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan. Train and write nothing.")] = False,
    tensorboard: TensorboardFlag = False,
    out: options.RunsOut = Path("runs"),
    force: options.Force = False,
    as_json: options.Json = False,
) -> None:
    """Decompose a foundation model into one expert per region.

    Trains the shared student, the experts and the heads together. Writes runs/<id>/.
    """
    from lorkit.cli.output import next_steps
    from lorkit.cli.output.progress import ProgressLine
    from lorkit.cli.output.streams import print_json, print_result, print_status
    from lorkit.decompose import load_config, train_from
    from lorkit.decompose import train as decompose

    overrides = settings or ()
    with ProgressLine() as progress:
        how: RunOptions = {"out": out, "resume": resume, "force": force, "dry_run": dry_run, "on_event": progress}
        how["tensorboard"] = tensorboard
        if source is not None or add_region is not None or remove_region is not None:
            result = train_from(
                source,
                config,
                overrides=overrides,
                method=method,
                add_region=add_region,
                remove_region=remove_region,
                **how,
            )
        else:
            loaded = load_config(config, overrides=overrides, method=method)
            events = options.BuiltInSaid(config, progress)
            how["on_event"] = events
            result = decompose(loaded, teacher=options.onnx_teacher(loaded), **how)
            events.say()
    if tensorboard and result.up_to_date and not (result.run / "tensorboard").is_dir():
        print_status(f"note: {result.run} was trained without --tensorboard; --force trains it again")
    if as_json:
        print_json(result.document())
    elif result.plan is not None:
        from lorkit.cli.output import tables

        tables.plan(result.plan)
        next_steps.suggest(next_steps.again(without="--dry-run"))
    else:
        done = "written" if remove_region is not None else "trained"
        print_status(f"{'up to date' if result.up_to_date else done}: {', '.join(result.regions)}")
        print_result(str(result.run))
        next_steps.after_training(result.run)
