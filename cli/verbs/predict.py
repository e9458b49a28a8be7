"""`decompose predict`: labels or masks for images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lorkit.cli import options

if TYPE_CHECKING:
    from lorkit.decompose.documents.predict import PredictedImage, StructureSize


def predict(
    inputs: Annotated[
        list[Path],
        typer.Argument(metavar="[PATH] INPUT...", help="An export or expert, then images. Default: of the newest run."),
    ],
    run: options.RunName = None,
    region: Annotated[str | None, typer.Option("--region", metavar="NAME", help="A region of the run.")] = None,
    target: options.TargetName = None,
    profile: options.ProfileName = None,
    precision: options.PrecisionName = None,
    top: Annotated[int, typer.Option(min=1, help="Number of classes to list per image.")] = 1,
    out: options.PredictionsOut = None,
    sheet: Annotated[
        Path | None,
        typer.Option(
            metavar="PNG", help="Also draw the images in rows by answer; it shows patients.", show_default=False
        ),
    ] = None,
    allow_synthetic: options.AllowSynthetic = False,
    allow_out_of_region: Annotated[
        bool, typer.Option("--allow-out-of-region", help="Also predict for images that do not look like the region.")
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Label or segment images with an expert, or with a router, which finds the region of each image.

    Reads PNG, JPEG, DICOM, NIfTI, or a CSV that lists files. With --out, a segmentation expert writes a mask in the
    size of each image (on the grid of a NIfTI file) and the volume of each structure. For research, not for diagnosis.
    """
    from lorkit.cli.output import tables
    from lorkit.cli.output.progress import ProgressLine
    from lorkit.cli.output.streams import print_json, print_result
    from lorkit.decompose.artifacts.manifest import is_artifact
    from lorkit.export import predict as label

    stated = not (region or run) and (is_artifact(inputs[0]) or not inputs[0].exists())
    path, images = (inputs[0], inputs[1:]) if stated else (None, inputs)
    with ProgressLine("predict", images=True) as progress:
        document = label(
            path,
            images,
            run=run,
            region=region,
            target=target,
            profile=profile,
            precision=precision,
            allow_synthetic=allow_synthetic,
            allow_out_of_region=allow_out_of_region,
            top=top,
            out=out,
            sheet=sheet,
            on_event=progress,
        )
    tables.warnings(document.warnings, synthetic=document.synthetic)
    if as_json:
        print_json(document.to_json())
        return
    for row in document.predictions:
        print_result(_line(row))


def _line(row: PredictedImage) -> str:
    from lorkit.decompose.documents.predict import MultilabelImage, RoutedImage, SegmentedImage

    if isinstance(row, RoutedImage):
        if row.prediction is None:
            return f"{row.input}\tno answer: does not look like any region (confidence {row.confidence:.3f})"
        answer = _line(row.prediction).partition("\t")[2]
        return f"{row.input}\t{row.region} ({row.confidence:.3f})\t{answer}"
    if row.refused:
        found = "refused: does not look like the region"
    elif isinstance(row, SegmentedImage):
        found = ", ".join(f"{name} {_amount(size)}" for name, size in (row.structures or {}).items())
    elif isinstance(row, MultilabelImage):
        found = " ".join(f"{name} {one.probability:.3f} {one.answer}" for name, one in (row.labels or {}).items())
    else:
        found = " ".join(f"{entry.label} {entry.probability:.3f}" for entry in row.top)
    mask = row.mask if isinstance(row, SegmentedImage) else None
    return f"{row.input}\t{found}" + (f"\t{mask}" if mask else "")


def _amount(size: StructureSize) -> str:
    if size.ml is not None:
        return f"{size.ml:.3f} ml"
    return f"{size.pixels} pixels" if size.voxels is None else f"{size.voxels} voxels"
