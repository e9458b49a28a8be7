"""`decompose evaluate`: accuracy and calibration with intervals."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lorkit.cli import options

if TYPE_CHECKING:
    from lorkit.decompose.runs import Run


class Model(StrEnum):
    """The network of a run to measure."""

    experts = "experts"
    student = "student"
    foundation = "foundation"


class Part(StrEnum):
    """The locked part of the data to measure on."""

    train = "train"
    val = "val"
    test = "test"


def evaluate(
    path: options.ArtifactPath = None,
    run: options.RunName = None,
    region: options.RegionName = "all",
    model: Annotated[Model, typer.Option(help="experts: the extracted ones, else those of the trained model.")] = (
        Model.experts
    ),
    split: Annotated[Part, typer.Option(help="Part of the data, identified by digest.")] = Part.test,
    data: options.DataFile = None,
    outside: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Images of no region, which a router should not answer.",
            show_default=False,
            callback=options.existing,
        ),
    ] = None,
    flips: options.Flips = False,
    as_json: options.Json = False,
) -> None:
    """Measure accuracy and calibration, with intervals.

    Accuracy, balanced accuracy, AUROC and expected calibration error, with 95% bootstrap intervals over groups.
    Experts with a router are also measured without telling them the region.
    """
    from lorkit.cli.output import evaluation_tables, next_steps
    from lorkit.cli.output.progress import ProgressLine
    from lorkit.cli.output.streams import print_json
    from lorkit.decompose import evaluate as measure
    from lorkit.decompose import open_run
    from lorkit.decompose.artifacts.places import is_given
    from lorkit.decompose.runs.extracted import is_expert
    from lorkit.decompose.runs.listing import NETWORKS

    options.one_of(path=path, run=run)
    with ProgressLine("evaluate") as progress:
        # an expert alone has no foundation
        asked = model is Model.foundation and not (path is not None and is_expert(path))
        teacher = options.onnx_teacher(open_run(path or run).config) if asked else None
        named = path or run
        measured: Run | Path | str | None = named
        if named is not None and any(is_given(place) for place in (Path(named), NETWORKS / named)):
            from lorkit.export.building.given import with_network  # needs ONNX Runtime

            measured = with_network(open_run(named))
        document = measure(
            measured,
            model=model.value,
            split=split.value,
            data=data,
            outside=outside,
            flips=flips,
            region=region,
            teacher=teacher,
            on_event=progress,
        )
    evaluation_tables.evaluation(document)
    if as_json:
        print_json(document)
    next_steps.after_evaluation(path, run)
