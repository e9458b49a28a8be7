"""`decompose export`: export experts, and the networks they are compared with, to engines."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from lorkit.cli import completion, options
from lorkit.cli.commands import Command

_Target = Annotated[
    str,
    typer.Option(
        "--target",
        metavar="NAME",
        help="Deployment format, such as onnx or trt. auto: the fastest here whose accuracy is not worse.",
        autocompletion=completion.targets,
    ),
]
_Precision = Annotated[
    str | None,
    typer.Option(
        "--precision",
        metavar="NAME",
        help="Number format. auto: the fastest whose accuracy is not worse. Default: fp32, of target auto all.",
    ),
]
_Batches = Annotated[
    str | None,
    typer.Option(
        metavar="N,N",
        help="With auto: batch sizes. Faster at the first, not slower at the others. Default: the profile's.",
    ),
]
_Threads = Annotated[
    int | None,
    typer.Option(min=0, max=options.MOST_THREADS, help="With auto: threads. 0: chosen by the runtime. Default: 1."),
]

_Calibration = Annotated[
    str | None,
    typer.Option(metavar="DATA", help="Of PATH.onnx: labelled images of its region, as `data` in decompose.yaml."),
]
_Recipe = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", help="Of PATH.onnx: a YAML file with what it does not say.", callback=options.existing
    ),
]
_Out = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR", help="Directory of the exports; of PATH.onnx all. Default: in the run, or networks/DIGEST."
    ),
]


def export(
    path: options.ArtifactPath = None,
    run: options.RunName = None,
    region: options.RegionName = "all",
    target: _Target = "onnx",
    profile: options.ProfileName = None,
    precision: _Precision = None,
    max_accuracy_drop: Annotated[
        float, typer.Option(min=0, max=1, help="With auto: the allowed drop of accuracy.")
    ] = 0.02,
    max_seconds: Annotated[
        float, typer.Option(min=0.001, max=1e6, help="With auto: seconds for one candidate and batch size.")
    ] = 20.0,
    batch: _Batches = None,
    threads: _Threads = None,
    calibration: _Calibration = None,
    recipe: _Recipe = None,
    out: _Out = None,
    force: options.Force = False,
    allow_synthetic: options.AllowSynthetic = False,
    as_json: options.Json = False,
) -> None:
    """Export the extracted experts to an engine, or a network that lorkit did not train.

    Also exports the foundation and the student without experts, for comparison. Parity is checked for each. PATH.onnx
    with --calibration and --recipe makes a directory in networks/, which the other commands take as they take a run.
    """
    from lorkit.cli.output import export_tables, next_steps
    from lorkit.cli.output.progress import ProgressLine
    from lorkit.cli.output.streams import print_json, print_result, print_status
    from lorkit.export import export as write

    options.one_of(path=path, run=run)
    batches = None if batch is None else options.whole_numbers("--batch", batch, most=options.MOST_BATCH)
    with ProgressLine("export") as progress:
        document = write(
            path or run,
            region=region,
            target=target,
            profile=profile,
            precision=precision,
            max_accuracy_drop=max_accuracy_drop,
            max_seconds=max_seconds,
            batch=batches,
            threads=threads,
            calibration=calibration,
            recipe=recipe,
            out=out,
            force=force,
            allow_synthetic=allow_synthetic,
            on_event=progress,
        )
    if as_json:
        print_json(document)
        return
    export_tables.candidates({row.region: row.choice for row in document.exports if row.choice is not None})
    for result in document.exports:
        state = "up to date" if result.up_to_date else f"parity {result.parity.status}"
        print_status(f"{result.owner} {result.region}: {state}")
        print_result(str(result.path))
    next_steps.after_export(path, run, document)


class TargetsHelp(Command):
    """A command whose help ends with the targets, which are checked only when the help is shown."""

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Write each target, its precisions and, if it does not work here, why and how to get it."""
        from lorkit.export.targets import TARGETS

        rows = []
        for name, target in TARGETS.items():
            state = target.available()
            told = ", ".join(target.precisions)
            if not state.ok:
                told += f". Missing: {state.reason}; {state.install}"
            elif not state.runs:
                told += f". Builds here, but cannot run: {state.cannot_run_because}"
            rows.append((name, told))
        with formatter.section("Targets and their precisions"):
            formatter.write_dl(rows)


COMMAND = TargetsHelp
"""The class of the command."""
