"""The files of a prediction: masks, pictures, documents and tables, which appear together or not at all."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from pathlib import Path

from lorkit.decompose.artifacts import write_bytes, write_text
from lorkit.decompose.documents.predict import (
    CaseStatistics,
    PredictDocument,
    SegmentedImage,
    StatisticsDocument,
)
from lorkit.decompose.errors import UsageError
from lorkit.decompose.regions import MIXTURE
from lorkit.export.prediction import classification, multilabel, routed, segmentation, statistics
from lorkit.export.prediction import inputs as files
from lorkit.export.prediction.structures import MaskOptions
from lorkit.export.prediction.writers import label_tables
from lorkit.export.prediction.writers.base import MaskLabel, MaskSource
from lorkit.export.prediction.writers.registry import writer_of
from lorkit.export.prediction.writers.spool import Spool
from lorkit.export.prediction.writers.target import MaskTarget

DOCUMENT, TABLE = "predictions.json", "predictions.csv"
_TABLES: dict[str, Callable[[PredictDocument], list[list[str]]]] = {
    "segmentation": segmentation.table, "structures": segmentation.table, "multilabel": multilabel.table,
    MIXTURE: routed.table,
}  # fmt: skip


def mask_targets(
    paths: Sequence[Path], spool: Spool, source: MaskSource, options: MaskOptions, labels: Sequence[MaskLabel],
    *, overlapping: bool = False,
) -> list[MaskTarget]:  # fmt: skip
    """Return where the mask of each image is written.

    Raises:
        UsageError: A format does not take an image, or two files would have one name.
        DataError: An image lacks what its format needs.
        MissingRuntimeError: A format needs a package that is not installed.
    """
    writers = [writer_of(path, options.to) for path in paths]
    stems = distinct([files.stem(path) for path in paths])
    targets = [MaskTarget(spool, stem, writer, source) for stem, writer in zip(stems, writers, strict=True)]
    taken: dict[str, Path] = {}
    for path, target in zip(paths, targets, strict=True):
        made = [("mask", name) for name in target.names(labels, overlapping=overlapping)]
        for what, name in [*made, ("preview", target.preview)][: len(made) + options.preview]:
            if name.casefold() in taken:
                raise UsageError(
                    f"{taken[name.casefold()]} and {path} would share the {what} {name}",
                    required="another name for each file",
                    fix="rename an image or a structure, or predict them one by one",
                )
            taken[name.casefold()] = path
    return targets


def check_kept(inputs: Sequence[Path | str], paths: Sequence[Path], targets: Sequence[MaskTarget], out: Path,
               labels: Sequence[MaskLabel], *, overlapping: bool = False, preview: bool = False) -> None:  # fmt: skip
    """Raise UsageError if a result would replace an input, such as an image or the CSV that lists the images."""
    taken = {Path(one).resolve() for one in [*inputs, *paths]}
    masks = [name for target in targets for name in target.names(labels, overlapping=overlapping)]
    results = [TABLE, DOCUMENT, statistics.TABLE, statistics.DOCUMENT, label_tables.ITK_SNAP, label_tables.SLICER]
    pictures = [target.preview for target in targets if preview]
    for what, names in (("mask", masks), ("preview", pictures), ("results", results)):
        for name in names:
            if (out / name).resolve() in taken:
                kind = "an input" if what == "results" else "an image"
                raise UsageError(
                    f"the {what} {out / name} would replace {kind}",
                    required=f"a directory without the {'inputs' if what == 'results' else 'images'}",
                    fix="name another one with --out",
                )


def write_results(
    document: PredictDocument, names: Sequence[str], spool: Spool, out: Path, options: MaskOptions,
    labels: Sequence[MaskLabel] = (),
) -> None:  # fmt: skip
    """Write the documents and tables of a prediction, and write the files of `spool` to `out`.

    Args:
        document: The prediction.
        names: Stem of each image's files.
        spool: Masks and pictures.
        out: Where everything is written.
        options: What was made of masks.
        labels: What the values of masks mean; none where no mask is written.
    """
    out.mkdir(parents=True, exist_ok=True)
    for name in spool:
        write_bytes(out / name, spool.read(name))
    for name, row in zip(names, document.predictions, strict=True):
        document.with_changes(warnings=[], predictions=[row]).write(out / f"{name}.json")
    write_text(out / TABLE, _csv(_TABLES.get(document.task, classification.table)(document)))
    document.write(out / DOCUMENT)
    if labels:
        write_text(out / label_tables.ITK_SNAP, label_tables.itk_snap(labels))
        write_text(out / label_tables.SLICER, label_tables.slicer(labels))
    if options.statistics:
        statistics_of(document).write(out / statistics.DOCUMENT)
        write_text(out / statistics.TABLE, _csv(statistics.table(document)))


def statistics_of(document: PredictDocument) -> StatisticsDocument:
    """Return the statistics of all volumes of a prediction."""
    volumes = []
    for row in document.predictions:
        assert isinstance(row, SegmentedImage)  # checked with the options
        found = row.statistics
        unit, structures = (None, {}) if found is None else (found.unit, found.structures)
        volumes.append(CaseStatistics(input=row.input, unit=unit, structures=structures))
    return StatisticsDocument(
        not_for_diagnosis=True,
        synthetic=document.synthetic,
        region=document.region,
        network=document.network,
        volumes=volumes,
    )


def distinct(stems: Sequence[str]) -> list[str]:
    """Number the stems that would overwrite an earlier image's file, or the list of all.

    A number never makes the stem of another image: `p1/eye.png p2/eye.png p2/eye-2.png` are eye, eye-3 and eye-2. File
    systems may not tell upper case from lower case.
    """
    wanted_by_some = {text.casefold() for text in stems}
    taken = {Path(DOCUMENT).stem, Path(statistics.DOCUMENT).stem}
    names = []
    for wanted in stems:
        name, number = wanted, 2
        while name.casefold() in taken or (name != wanted and name.casefold() in wanted_by_some):
            name, number = f"{wanted}-{number}", number + 1
        taken.add(name.casefold())
        names.append(name)
    return names


def _csv(lines: Sequence[Sequence[str]]) -> str:
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows(lines)
    return stream.getvalue()
