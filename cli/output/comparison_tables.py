"""Tables of `compare`: methods, what their networks saw, gains beside controls, and drops."""

from __future__ import annotations

from lorkit.cli.output.tables import interval, line, table, warnings
from lorkit.decompose.documents.compare import CompareDocument, Gain


def comparison(document: CompareDocument) -> None:
    """Print a comparison: one row per method and fraction, then the drop of each against the first."""
    _methods(document)
    _training(document)
    _predicted(document)
    _controls(document)
    _drops(document)
    warnings(document.warnings, synthetic=document.synthetic, case="node" if document.nodes else "image")


def _methods(document: CompareDocument) -> None:
    teacher = document.foundation
    regions = list(document.rows[0].regions)
    metric = document.metric
    beside = ("auroc",) if document.nodes else ()
    columns = ("method", "fraction", "seeds", "mean", "sd", *beside, *regions, "parameters", "MACs", "bytes", "seconds")
    rows = [
        [
            row.label,
            row.fraction,
            row.seed_count,
            interval(row.value(metric), row.ci),
            row.sd,
            *(getattr(row, key) for key in beside),
            *row.regions.values(),
            *(getattr(row, key) for key in ("parameters", "macs", "deployed_bytes", "train_seconds")),
        ]
        for row in document.table
    ]
    if teacher is not None:
        scores = [teacher.regions[name].value(metric) for name in regions]
        costs = [getattr(teacher, key) for key in ("parameters", "macs", "deployed_bytes")]
        mean = interval(teacher.value(metric), teacher.ci)
        others = (getattr(teacher, key) for key in beside)
        rows.append(["foundation", None, None, mean, None, *others, *scores, *costs, None])
    table(f"{document.metric_in_words} on the {document.split} split; costs as deployed", columns, rows)


def _training(document: CompareDocument) -> None:
    regions = list(document.rows[0].regions)
    exposed = [
        [
            row.label,
            row.fraction,
            *(f"{one.optimiser_steps:,} / {one.images:,}" for one in map(row.exposure.get, regions) if one),
        ]
        for row in document.table
        if row.exposure and row.prediction is None  # else the training of the row above
    ]
    if exposed:
        table(
            f"training of each region: optimiser steps that held it / its {'nodes' if document.nodes else 'images'}",
            ("method", "fraction", *regions),
            exposed,
        )


def _predicted(document: CompareDocument) -> None:
    regions = list(document.rows[0].regions)
    predicted = [
        [row.label, row.fraction, interval(row.prediction.right, row.prediction.ci), *row.prediction.regions.values()]
        for row in document.table
        if row.prediction is not None
    ]
    if predicted:
        table("region predicted right, where it is unknown", ("method", "fraction", "mean", *regions), predicted)


def _controls(document: CompareDocument) -> None:
    """Print what each distillation gains, and how much of this a teacher without knowledge gives."""
    if not document.controls:
        return
    rows = [
        [
            row.label,
            row.fraction,
            interval(document.mean_of(row.label, row.fraction), None),
            *map(_gain, (row.over_student, row.random_over_student, row.over_random, row.over_probe)),
        ]
        for row in document.controls
    ]
    columns = ("over the student alone", "random teacher over it", "over the random teacher", "over a linear probe")
    title = "gains of distillation and of its controls, mean over regions"
    table(title, ("method", "fraction", "mean", *columns), rows)
    for reason in dict.fromkeys(row.without_random_teacher for row in document.controls):
        if reason is not None:
            line(f"no random teacher: {reason}")


def _gain(found: Gain | None) -> str:
    return "-" if found is None else interval(found.gain, found.ci)


def _drops(document: CompareDocument) -> None:
    pairs = [
        [pair.baseline, pair.candidate, pair.fraction, interval(pair.mean_drop.drop, pair.mean_drop.ci),
         pair.wins, pair.losses]
        for pair in document.compared_pairs
        if pair.baseline in ("foundation", document.table[0].label)
    ]  # fmt: skip
    if pairs:
        columns = ("baseline", "candidate", "fraction", "drop", "regions won", "regions lost")
        table("drop from baseline to candidate, mean over regions", columns, pairs)
