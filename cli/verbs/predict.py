"""`decompose predict`: labels or masks for images, or scores for a stream of rows."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from lorkit.cli import completion, options
from lorkit.decompose.errors import DataError, StorageError, UsageError

if TYPE_CHECKING:
    from lorkit.decompose.documents.predict import PredictedImage, StructureSize, StructureStatistics
    from lorkit.export.serving.lines import Source


def predict(
    inputs: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[PATH] INPUT...",
            help="An export or expert, then images. Default: of the newest run.",
            callback=options.existing,
        ),
    ] = None,
    run: options.RunName = None,
    region: Annotated[
        str | None,
        typer.Option(
            "--region",
            metavar="NAME",
            help="A region of the run; several, or all, into one mask.",
            autocompletion=completion.regions,
        ),
    ] = None,
    target: options.TargetName = None,
    profile: options.ProfileName = None,
    precision: options.PrecisionName = None,
    top: options.Top = 1,
    out: options.PredictionsOut = None,
    sheet: options.Sheet = None,
    stream: options.Stream = None,
    store: options.Store = None,
    fill: options.Fill = False,
    allow_synthetic: options.AllowSynthetic = False,
    allow_out_of_region: options.AllowOutOfRegion = False,
    flips: options.Flips = False,
    fast: options.Fast = False,
    to: options.MaskFormat = None,
    structures: options.Structures = None,
    statistics: options.Statistics = False,
    preview: options.Preview = False,
    memory: options.Memory = None,
    trust_native: options.TrustNative = False,
    as_json: options.Json = False,
) -> None:
    """Label or segment images with an expert, or with a router, which finds the region of each image.

    Reads PNG, JPEG, DICOM, NIfTI, or a CSV that lists files; a DICOM series is given as its folder. With --out, a
    segmentation expert writes a mask in the size of each image (on the grid of a NIfTI file or DICOM series) and the
    volume of each structure. For research, not for diagnosis.

    With --stream, score rows of a table that are related by shared keys, and answer each line with one of JSON: a row
    (id and the columns of the network) with its score, a label that arrives later (id and label) with recorded.
    """
    network: dict[str, Any] = {"run": run, "region": region, "target": target, "profile": profile}
    network |= {"precision": precision, "allow_synthetic": allow_synthetic}
    inputs = inputs or []
    if stream is not None:
        _refuse(
            {"--out": out, "--sheet": sheet, "--json": as_json, "a second path": inputs[1:], "--flips": flips}
            | {"--to": to, "--structures": structures, "--statistics": statistics, "--preview": preview}
            | {"--memory": memory, "--fast": fast},
            "with --stream",
        )
        _stream(inputs[0] if inputs else None, stream, store, fill, network)
        return
    _refuse({"--store": store, "--fill": fill}, "without --stream")
    answers: dict[str, Any] = {"flips": flips, "fast": fast, "top": top, "out": out, "sheet": sheet, "to": to}
    answers |= {"structures": None if structures is None else options.comma_separated(structures)}
    answers |= {"statistics": statistics, "preview": preview, "allow_out_of_region": allow_out_of_region}
    _label(inputs, {**network, **answers, "memory_gib": memory}, as_json)


def _label(inputs: list[Path], settings: dict[str, Any], as_json: bool) -> None:
    """Label or segment images; the first input may be a network."""
    from lorkit.cli.output import next_steps, tables
    from lorkit.cli.output.progress import ProgressLine
    from lorkit.cli.output.streams import print_json, print_result
    from lorkit.decompose.artifacts.manifest import is_artifact
    from lorkit.export import predict as label

    if not inputs:
        raise UsageError(
            "missing argument", required="images, or --stream FILE|-", fix="see `decompose predict --help`"
        )
    chosen = settings["region"] or settings["run"]
    stated = not chosen and bool(inputs) and (is_artifact(inputs[0]) or not inputs[0].exists())
    path, images = (inputs[0], inputs[1:]) if stated else (None, inputs)
    with ProgressLine("predict", images=True) as progress:
        document = label(path, images, **settings, on_event=progress)
    tables.warnings(document.warnings, synthetic=document.synthetic)
    if as_json:
        print_json(document)
        return
    for row in document.predictions:
        print_result(_line(row))
    if settings["out"] is None:
        next_steps.suggest(next_steps.again(also=("--out", "predictions")))


def _refuse(given: dict[str, object], where: str) -> None:
    """Raise UsageError for an option that has no meaning here."""
    name = next((name for name, value in given.items() if value), None)
    if name is not None:
        raise UsageError(f"{name} {where}", required="--stream FILE|- --store STORE for a stream", fix="leave it out")


def _stream(path: Path | None, source: str, store: str | None, fill: bool, network: dict[str, Any]) -> None:
    """Answer each line of a file or of stdin, at the latest before waiting for the next one."""
    from lorkit.cli.output.progress import ProgressLine
    from lorkit.cli.output.streams import print_result
    from lorkit.export import stream
    from lorkit.export.serving.lines import read_lines

    if store is None:
        raise UsageError("--stream without --store", required="a file or redis:// URL", fix="name one, new or used")
    with _opened(source) as lines, ProgressLine("predict") as progress:
        answers = stream(path, read_lines(lines), store, fill=fill, **network, on_event=progress)
        for answer in answers:
            if not print_result(answer):
                raise StorageError(
                    "the reader of the answers has ended",
                    required="a reader until the end of the stream",
                    fix="send the lines that got no answer again: none is counted twice",
                )


def _opened(source: str) -> AbstractContextManager[Source]:
    if source == "-":
        return nullcontext(cast("Source", sys.stdin.buffer))
    try:
        return open(source, "rb")
    except FileNotFoundError:
        options.existing(Path(source))
        raise
    except OSError as error:
        raise DataError(
            f"{source} cannot be read ({error.strerror})", required="a file of lines of JSON", fix="check the path"
        ) from None


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
        means = {} if row.statistics is None else row.statistics.structures
        unit = "" if row.statistics is None else row.statistics.unit or ""
        found = ", ".join(
            f"{name} {_amount(size)}{_mean(means.get(name), unit)}" for name, size in (row.structures or {}).items()
        )
    elif isinstance(row, MultilabelImage):
        found = " ".join(f"{name} {one.probability:.3f} {one.answer}" for name, one in (row.labels or {}).items())
    else:
        found = " ".join(f"{entry.label} {entry.probability:.3f}" for entry in row.top)
    mask = (row.mask or ", ".join((row.masks or {}).values())) if isinstance(row, SegmentedImage) else None
    return f"{row.input}\t{found}" + (f"\t{mask}" if mask else "")


def _amount(size: StructureSize) -> str:
    if size.ml is not None:
        return f"{size.ml:.3f} ml"
    return f"{size.pixels} pixels" if size.voxels is None else f"{size.voxels} voxels"


def _mean(found: StructureStatistics | None, unit: str) -> str:
    return "" if found is None or found.mean_value is None else f" (mean {found.mean_value:.1f}{unit and f' {unit}'})"
