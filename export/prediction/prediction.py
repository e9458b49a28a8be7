"""Predict labels with probabilities or masks for images, or refuse them. For research, not for diagnosis.

An export needs its runtime, numpy and Pillow, not torch; an extracted expert runs with torch.
"""

from __future__ import annotations

import csv
import io
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from lorkit.decompose.artifacts import write_bytes, write_text
from lorkit.decompose.artifacts.arrays import Float32Array
from lorkit.decompose.documents.export import ExportInfo
from lorkit.decompose.documents.mixture import MixtureInfo
from lorkit.decompose.documents.predict import (
    PredictDocument,
    PredictedImage,
    PredictingNetwork,
    RoutedImage,
    SegmentedImage,
)
from lorkit.decompose.errors import UsageError, plural
from lorkit.decompose.events import Listener, Working, ignore
from lorkit.decompose.regions import MIXTURE
from lorkit.decompose.runs import ExportSelection
from lorkit.export.prediction import classification, multilabel, routed, segmentation
from lorkit.export.prediction import inputs as files
from lorkit.export.prediction.answers import answer, chunk_size, require_images, with_flips
from lorkit.export.prediction.network import LoadedNetwork, open_network, prepare_image
from lorkit.export.prediction.sheet import prediction_sheet

DOCUMENT, TABLE = "predictions.json", "predictions.csv"


def predict(
    path: Path | str | None = None,
    inputs: Iterable[Path | str] = (),
    *,
    run: Path | str | None = None,
    region: str | None = None,
    target: str | None = None,
    profile: str | None = None,
    precision: str | None = None,
    allow_synthetic: bool = False,
    allow_out_of_region: bool = False,
    flips: bool = False,
    top: int = 1,
    out: Path | None = None,
    sheet: Path | None = None,
    threads: int | None = None,
    on_event: Listener = ignore,
) -> PredictDocument:
    """Label or segment images with one expert, or with a router, which finds the region of each.

    Args:
        path: An export or an expert directory; without one, `region` of a run is used: the export that `gate` would
            judge (`export_preference`), else its expert.
        inputs: Image files, or CSV files with a `path` column.
        run: A run by id or path; the newest by default.
        region: Region of the run.
        target: Selects among the exports of the run.
        profile: Selects among the exports of the run.
        precision: Selects among the exports of the run.
        allow_synthetic: Allow an expert that was trained on phantoms only.
        allow_out_of_region: Also predict for images that do not look like the region.
        flips: Average the logits of each image and its mirror image.
        top: Number of classes per image.
        out: Directory for `predictions.csv`, `predictions.json` and, named by the stem of each image, one JSON file and
            the mask: NIfTI on the grid of a NIfTI input, else PNG of the input's size.
        sheet: A PNG with the images in rows by answer; it shows patients.
        threads: CPU threads.
        on_event: Receives progress.

    Returns:
        A document with one row per image in `predictions`; `label`, or `structures` for segmentation, is null if the
        image was refused.

    Raises:
        UsageError: No network or no images, a network of nodes, flips for a router or where sides differ, or a result
            would replace an input.
        ArtifactError: The network is damaged, or synthetic and not allowed.
        DataError: An image cannot be read; nothing is written.
    """
    selection = ExportSelection(region=region, target=target, profile=profile, precision=precision)
    network = open_network(path, run, selection, threads)
    require_images(network, allow_synthetic=allow_synthetic)
    network = with_flips(network) if flips else network
    inputs = list(inputs)
    paths = files.expand(inputs)
    if out is not None:
        _check_kept(inputs, Path(out))
    names = _distinct([files.stem(one) for one in paths])
    shown: list[Float32Array] | None = None if sheet is None else []
    # masks are written here first, so that an unreadable image leaves none of them
    with tempfile.TemporaryDirectory(prefix="lorkit-") as folder:
        masks = None if out is None or not network.dense else segmentation.mask_names(paths, names, Path(out))
        rows, warnings = _rows(network, paths, masks, Path(folder), (top, allow_out_of_region), shown, on_event)
        document = _document(network, rows, warnings, flips=flips)
        if out is not None:
            _write(document, names, Path(folder), Path(out))
        if sheet is not None and shown is not None:
            prediction_sheet(rows, shown, Path(sheet))
    return document


def _rows(
    network: LoadedNetwork,
    paths: Sequence[Path],
    masks: Sequence[str] | None,
    folder: Path,
    options: tuple[int, bool],
    shown: list[Float32Array] | None,
    on_event: Listener,
) -> tuple[list[PredictedImage], list[str]]:
    top, allow_out_of_region = options
    rows: list[PredictedImage] = []
    warnings: list[str] = []
    step = chunk_size(network)
    for start in range(0, len(paths), step):
        on_event(Working(network.region.name, start, len(paths)))
        chunk = [prepare_image(network, path) for path in paths[start : start + step]]
        warnings += [f"{image.path}: {text}" for image in chunk for text in image.warnings]
        if shown is not None:
            shown += [image.values for image in chunk]
        targets = [None if masks is None else folder / masks[start + at] for at in range(len(chunk))]
        rows += answer(network, chunk, targets, top=top, allow_out_of_region=allow_out_of_region).rows
    on_event(Working(network.region.name, len(paths), len(paths)))
    return rows, warnings


def _document(network: LoadedNetwork, rows: list[PredictedImage], notes: list[str], *, flips: bool) -> PredictDocument:
    answer = "answer" if network.router is not None else "mask" if network.dense else "label"
    if network.multilabel:
        assert not isinstance(network.info, MixtureInfo)  # it has no task of its own
        missing = [name for name in network.region.classes if (network.info.decision is None
                   or network.info.decision.thresholds.get(name) is None)]  # fmt: skip
        if missing:
            notes.append(f"no threshold of {', '.join(missing)} could be chosen on validation: answered as uncertain")
    refused = sum(row.refused for row in rows)
    if refused:
        what = "any region" if network.router is not None else f"region '{network.region.name}'"
        notes.append(f"{refused} of {plural(len(rows), 'image')} do not look like {what}: no {answer}")
    if not isinstance(network.info, MixtureInfo) and network.info.in_region is None and network.router is None:
        notes.append(f"this network has no in-region check: every image gets a {answer}")
    return PredictDocument(
        warnings=notes,
        not_for_diagnosis=True,
        synthetic=network.info.synthetic,
        region=network.region.name,
        task=network.region.task,
        classes=list(network.region.classes),
        network=_about(network),
        flips=flips,
        predictions=rows,
    )


def _about(network: LoadedNetwork) -> PredictingNetwork:
    info, place = network.info, {"path": str(network.path), "digest": network.digest}
    if isinstance(info, ExportInfo):
        return PredictingNetwork(**place, kind="export", owner=info.owner, target=info.target, precision=info.precision)
    return PredictingNetwork(**place, kind="expert", owner="expert", target=None, precision="fp32")


def _write(document: PredictDocument, names: Sequence[str], folder: Path, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    for name, row in zip(names, document.predictions, strict=True):
        inner = row.prediction if isinstance(row, RoutedImage) else row
        if isinstance(inner, SegmentedImage) and inner.mask is not None:
            write_bytes(out / inner.mask, (folder / inner.mask).read_bytes())
        document.with_changes(warnings=[], predictions=[row]).write(out / f"{name}.json")
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    tables = {"segmentation": segmentation.table, "multilabel": multilabel.table, MIXTURE: routed.table}
    writer.writerows(tables.get(document.task, classification.table)(document))
    write_text(out / TABLE, stream.getvalue())
    document.write(out / DOCUMENT)


def _check_kept(inputs: Sequence[Path | str], out: Path) -> None:
    """Raise UsageError if the table or the document would replace one of the inputs, such as a CSV that lists them."""
    taken = {Path(one).resolve() for one in inputs}
    for name in (TABLE, DOCUMENT):
        if (out / name).resolve() in taken:
            raise UsageError(
                f"the results {out / name} would replace an input",
                required="a directory without the inputs",
                fix="name another one with --out",
            )


def _distinct(stems: Sequence[str]) -> list[str]:
    """Number the stems that would overwrite an earlier image's file, or the list of all.

    A number never makes the stem of another image: `p1/eye.png p2/eye.png p2/eye-2.png` are eye, eye-3 and eye-2. File
    systems may not tell upper case from lower case.
    """
    wanted_by_some = {text.casefold() for text in stems}
    taken = {Path(DOCUMENT).stem}
    names = []
    for wanted in stems:
        name, number = wanted, 2
        while name.casefold() in taken or (name != wanted and name.casefold() in wanted_by_some):
            name, number = f"{wanted}-{number}", number + 1
        taken.add(name.casefold())
        names.append(name)
    return names
