"""Tables of `evaluate`: scores by region, and what a router does without knowing the region."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lorkit.cli.output.tables import fits, interval, line, number, table, warnings
from lorkit.decompose.documents.evaluate import EvaluateDocument, NodeEvaluation, SegmentationEvaluation
from lorkit.decompose.documents.mask_scores import MaskFigures
from lorkit.decompose.documents.scores import RecallAt
from lorkit.decompose.errors import plural
from lorkit.decompose.regions import NODE, Case

_MEASURES = (
    "dice", "nsd", "hd95", "dice_network_grid", "accuracy", "balanced_accuracy", "auroc", "ap", "recall_at_k",
    "f1_macro", "gmean", "ece",
)  # fmt: skip


_OF_NODES = ("ap", "auroc", "recall_at_k", "f1_macro", "gmean", "ece")
"""Of nodes, of which few are positive: accuracies say little."""


def evaluation(document: EvaluateDocument) -> None:
    """Print an evaluation: one row per region (and structure) with 95% intervals, and the mean."""
    _evaluated(document)
    _predicted(document)
    case: Case = "node" if any(row.task == NODE for row in document.regions.values()) else "image"
    warnings(document.warnings, synthetic=document.synthetic, case=case)


def _evaluated(document: EvaluateDocument) -> None:
    measures = [name for name in _measures(document) if name in document.means]
    rows: list[list[object]] = [
        [name, row.n, *(interval(row.value(m), row.ci.get(m)) for m in measures)]
        for name, row in document.regions.items()
    ]
    for name, row in document.regions.items():
        if isinstance(row, SegmentationEvaluation):
            rows += [
                [f"{name}: {one.structure}", one.n, *(interval(getattr(one, m, None), one.ci.get(m)) for m in measures)]
                for one in row.per_structure
            ]
        elif row.task == "multilabel":
            rows += [
                [
                    f"{name}: {label}",
                    one.n_positive + one.n_negative,
                    *(interval(getattr(one, m, None), one.ci.get(m)) for m in measures),
                ]
                for label, one in row.labels.items()
            ]
    if len(document.regions) > 1 and any(value is not None for value in document.means.values()):
        rows.append(["mean", "", *(interval(document.means.get(m), document.mean_ci.get(m)) for m in measures)])
    _scores(f"{document.model} on {document.split}", measures, rows)
    for name, row in document.regions.items():
        if isinstance(row, SegmentationEvaluation):
            line(_about_surfaces(name, row))
            _volumes(name, row)
        elif row.task == "node":
            line(_about_recall(name, row))


def _scores(title: str, measures: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a row per region and a column per measure; where a terminal is too narrow for that, a row per measure."""
    columns = ("region", "n", *measures)
    if fits(columns, rows):
        table(title, columns, rows)
        return
    tall = [
        [*((name, count if isinstance(count, str) else number(count)) if not index else ("", "")), measure, str(value)]
        for name, count, *values in rows
        for index, (measure, value) in enumerate(zip(measures, values, strict=True))
    ]
    table(title, ("region", "n", "measure", "value"), tall)


def _measures(document: EvaluateDocument) -> tuple[str, ...]:
    return _OF_NODES if all(row.task == NODE for row in document.regions.values()) else _MEASURES


def _about_surfaces(name: str, found: SegmentationEvaluation) -> str:
    """Say the unit and the tolerance of distances, and in how many cases HD95 is undefined."""
    each = [f"{structure} {value:g}" for structure, value in found.nsd_tolerance.items()]
    values = set(found.nsd_tolerance.values())
    stated = f"{values.pop():g}" if len(values) == 1 else ", ".join(each)
    lost = {one.structure: one.hd95_undefined for one in found.per_structure if one.hd95_undefined}
    undefined = "".join(f"; no HD95 of {structure} in {plural(count, 'case')}" for structure, count in lost.items())
    return f"{name}: hd95 and the tolerance of nsd ({stated}) are in {found.unit}{undefined}"


def _volumes(name: str, found: SegmentationEvaluation) -> None:
    """Print the volume bias of each structure, the cases without it, and the rule for them."""
    overall: list[object] = ["all", found.n, "", "", ""]
    rows: list[list[object]] = [
        [one.structure, one.n, one.empty, one.false, one.missed, *_bias(one)] for one in found.per_structure
    ]
    columns = ("structure", "n", "empty", "false", "missed", f"bias, {found.volume_unit}", "relative")
    table(f"{name}: predicted minus true volume", columns, [*rows, [*overall, *_bias(found)]])
    kind = (
        "structures may overlap, each decided by a sigmoid of its own"
        if found.task == "structures"
        else "a pixel has one structure at most, decided by a softmax"
    )
    line(f"{name}: {kind}")
    if found.empty_cases is not None:
        line(f"{name}: {found.empty_cases}")


def _bias(found: MaskFigures) -> list[str]:
    return [interval(getattr(found, one), found.ci.get(one)) for one in ("volume_bias", "volume_bias_relative")]


def _about_recall(name: str, found: NodeEvaluation) -> str:
    """Say among how many nodes the recall was measured, and the recall at each number or share that is stated."""
    if not found.recall_at:
        counts = ", ".join(f"{row.k} of '{label}'" for label, row in found.labels.items())
        return f"{name}: k of recall_at_k is the number of positive nodes, {counts}"
    each = [f"{interval(row.recall, row.ci)} among {_places(row)}" for row in found.recall_at]
    return f"{name}: recall {', '.join(each)}"


def _places(row: RecallAt) -> str:
    return f"the first {row.k}" + (f" ({row.at:g} of all)" if isinstance(row.at, float) else "")


def _predicted(document: EvaluateDocument) -> None:
    """Print the scores without a known region, the confusion of regions, and images of no region."""
    found = document.region_prediction
    if document.predicted is None or found is None:
        return
    measures = [name for name in _MEASURES if name in document.means]
    rows: list[list[object]] = [
        [name, row.n, *(interval(row.value(one), row.ci.get(one)) for one in measures)]
        for name, row in document.predicted.items()
    ]
    _scores(f"{document.model} on {document.split}, region unknown", measures, rows)
    _confusion("region", found.confusion_by_region)
    line(
        f"region predicted right {interval(found.right, found.ci)}, no answer {found.abstained:.1%} "
        f"(confidence below {found.abstain_below:g})"
    )
    if document.outside is not None:
        outside = document.outside
        _confusion(outside.data.name, outside.answered_as)
        line(
            f"{plural(outside.n, 'image')} of no region: no answer {outside.abstained:.1%}, "
            f"AUROC of the confidence {interval(outside.auroc, outside.ci)}"
        )


def _confusion(title: str, counts: Mapping[str, Mapping[str, int]]) -> None:
    columns = list(next(iter(counts.values())))
    table(f"{title}: answered as", ("", *columns), [[name, *row.values()] for name, row in counts.items()])
