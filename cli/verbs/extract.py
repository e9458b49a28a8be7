"""`decompose extract`: plain networks of a run, one per region, and networks of all regions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from lorkit.cli import completion, options

if TYPE_CHECKING:
    from lorkit.decompose.documents.expert import Reduction

Regions: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="NAME|all",
        help="Regions, separated by commas. Default: all, or none beside --router and --region-id.",
        autocompletion=completion.regions,
    ),
]
Router: TypeAlias = Annotated[
    bool,
    typer.Option("--router", help="Extract one network with all heads that needs no region, of a mola-router run."),
]
RegionId: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--region-id", help="Extract one network with all heads for mixed batches, given the region of each image."
    ),
]


def extract(
    run: options.RunName = None,
    region: Regions = None,
    router: Router = False,
    region_id: RegionId = False,
    recalibrate: Annotated[
        bool,
        typer.Option(
            "--recalibrate", help="Estimate the batch-norm statistics again, on the training images of the region."
        ),
    ] = False,
    rank: Annotated[
        int | None,
        typer.Option(
            metavar="R",
            min=1,
            max=4096,
            help="Reduce each layer's update by SVD to at most rank R, in units of lorkd.rank: R singular values in "
            "layout conv, R times the kernel's first side in layout reshape. The deployed network keeps its size.",
        ),
    ] = None,
    out: options.ExpertsOut = None,
    force: options.Force = False,
    as_json: options.Json = False,
) -> None:
    """Extract experts of a run as plain networks, or one network of all regions.

    Each has a model card, and is checked to equal the trained model. The expert of a region has the original classes
    and keys; in a mola-router run it has the router and all adapters.
    """
    from lorkit.cli.output.next_steps import command, run_words, suggest
    from lorkit.cli.output.progress import ProgressLine
    from lorkit.cli.output.streams import print_json, print_result, print_status
    from lorkit.decompose import extract as take_out
    from lorkit.decompose.documents.expert import ExtractDocument

    with ProgressLine("extract") as progress:
        results = take_out(
            run,
            region=region,
            router=router,
            region_id=region_id,
            recalibrate=recalibrate,
            rank=rank,
            out=out,
            force=force,
            on_event=progress,
        )
    if as_json:
        print_json(ExtractDocument.model_validate({"experts": [vars(result) for result in results]}))
        return
    for result in results:
        state = "up to date" if result.up_to_date else "extracted"
        print_status(f"{state}: {result.region}, largest difference from the trained model {result.max_difference:.1e}")
        if result.reduction is not None:
            print_status(_cut(result.reduction))
        print_result(str(result.path))
    places = [[result.path] for result in results[:1]] if out is not None else [run_words(run)]
    suggest(*(command("export", *place, "--target", "onnx") for place in places))


def _cut(reduction: Reduction) -> str:
    from lorkit.cli.output.tables import interval, number
    from lorkit.decompose.metrics.names import METRICS

    found, factors = reduction.validation, reduction.factor_parameters
    kept = reduction.energy_kept
    energy = "-" if kept is None else f"{100 * kept:.1f} %"
    drop = interval(found.drop, found.ci)
    return (
        f"  rank {reduction.rank_before} to {reduction.rank}: {energy} of the update's energy kept;"
        f" {METRICS[found.metric]} on validation {number(found.before)} to {number(found.after)}, drop {drop};"
        f" factors {factors.before:,} to {factors.after:,} parameters, the deployed network keeps its size"
    )
