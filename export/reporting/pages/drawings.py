"""The charts of a report's document, by section and region."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from lorkit.decompose.documents.gate import Accuracy, GateDocument, Latency
from lorkit.decompose.documents.measured import Subject
from lorkit.decompose.documents.report import Evaluations, RegionTables, ReportDocument
from lorkit.decompose.documents.report_row import ReportRow
from lorkit.decompose.documents.scores import ClassScores, PositiveScores
from lorkit.decompose.events import EpochRow
from lorkit.decompose.tasks import get_task
from lorkit.export.rendering.formatting import metric
from lorkit.export.reporting.charts import heat_map, latency_samples, panels, ranking, roc, score_histograms, tradeoff

_TERMS = {
    "ce": "cross-entropy",
    "feature_kd": "feature distillation",
    "logit_kd": "logit distillation",
    "twd": "decorrelation of gates",
    "region": "region predictor",
}
_NOTHING = Markup("")


@dataclass(frozen=True, kw_only=True)
class GateDrawings:
    """The intervals and the raw samples of one region; empty if there are no numbers."""

    latency: Markup
    accuracy: Markup
    samples: Markup


@dataclass(frozen=True, kw_only=True)
class Drawings:
    """The charts of a page by region, of training by phase and title. Charts without numbers are empty or missing."""

    gate: dict[str, GateDrawings]
    trade: dict[str, Markup]
    calibration: dict[str, Markup]
    roc: dict[str, Markup]
    precision_recall: dict[str, Markup]
    recall_by_number: dict[str, Markup]
    histograms: dict[str, dict[str, Markup]]
    """By region and positive class."""
    training: dict[str, dict[str, Markup]]


def draw(document: ReportDocument) -> Drawings:
    """Draw all charts of the page."""
    places = {region.name: index for index, region in enumerate(document.regions.values())}
    tables = {name: _measured(document.evaluations, name) for name in places}
    return Drawings(
        gate=draw_gate(document.gate),
        trade=draw_trade(
            document.table,
            document.headline_metric,
            {name: get_task(one.task).headline for name, one in document.regions.items()},
        ),
        calibration={name: _calibration(index, name, tables[name]) for name, index in places.items()},
        roc={name: _roc(index, name, tables[name]) for name, index in places.items()},
        precision_recall={
            name: ranking.precision_recall_curves(f"pr-{index}", name, _positive(tables[name]))
            for name, index in places.items()
        },
        recall_by_number={
            name: ranking.recall_by_number(f"found-{index}", name, _positive(tables[name]))
            for name, index in places.items()
        },
        histograms={name: _histograms(index, name, tables[name]) for name, index in places.items()},
        training=draw_training(document.training, places),
    )


def label_of(row: ReportRow | Subject) -> str:
    """Return what distinguishes an export from others of its region: owner, target, precision."""
    return " ".join(part for part in (row.owner, row.target, row.precision) if part)


def anchors(table: Sequence[ReportRow]) -> dict[str, str]:
    """Return the id of each export's card by digest; names from data are not safe ids."""
    return {row.digest: f"export-{index}" for index, row in enumerate(table) if row.digest}


def draw_gate(gate: GateDocument | None) -> dict[str, GateDrawings]:
    """Draw the intervals and the raw samples of each region."""
    return {
        name: GateDrawings(
            latency=_ratio(index, name, block.latency_test),
            accuracy=_change(index, name, block.accuracy_test),
            samples=_samples(index, name, block.latency_test),
        )
        for index, (name, block) in enumerate(gate.regions.items() if gate else ())
    }


def draw_trade(table: Sequence[ReportRow], headline: str, measures: Mapping[str, str]) -> dict[str, Markup]:
    """Draw accuracy, latency and size of the exports of each region; `measures` names the accuracy of each."""
    points: dict[str, list[tradeoff.ExportPoint]] = defaultdict(list)
    places, exported = anchors(table), [row for row in table if row.digest]
    told = [name for name in ("target", "precision") if len({getattr(row, name) for row in exported}) > 1]
    for row in exported:
        value = row.value(headline)
        if row.latency is None or value is None or row.size_bytes is None:
            continue
        point = tradeoff.ExportPoint(
            owner=row.owner,
            label=label_of(row),
            short=" ".join([row.owner, *(getattr(row, name) for name in told)]),
            milliseconds=row.latency.median_ms,
            accuracy=value,
            ci=row.ci[headline],
            size_bytes=row.size_bytes,
            href=f"#{places[str(row.digest)]}",
        )
        points[row.region].append(point)
    every = [point for several in points.values() for point in several]
    return {
        name: tradeoff.trade_off(f"trade-{index}", name, several, every, metric(measures[name]))
        for index, (name, several) in enumerate(points.items())
    }


def draw_training(rows: Sequence[EpochRow], colours: Mapping[str, int]) -> dict[str, dict[str, Markup]]:
    """Draw a panel per loss term and one of validation; phases that train other regions share their panels."""
    drawings: dict[str, dict[str, Markup]] = {}
    for number, (phase, members) in enumerate(_phases(rows).items()):
        validation = _validation_metric(members[0])
        key, drawn = f"training-{number}", {}
        if validation is not None:
            name = metric(validation)
            accuracy = _curves((row["epoch"], row["val"][validation]) for row in members)
            drawn[f"validation: {name}"] = panels.curve_chart(
                f"{key}-val", f"Validation {name}", accuracy, y_title=name, colours=colours, bounds=(0.0, 1.0)
            )
        for index, term in enumerate(dict.fromkeys(term for row in members for term in row["loss"])):
            spelled = "Dice + cross-entropy" if (term, validation) == ("ce", "dice_network_grid") else _TERMS.get(term)
            title = f"loss: {spelled or term.replace('_', ' ')}"
            losses = _curves((row["epoch"], row["loss"].get(term, {})) for row in members)
            drawn[title] = panels.curve_chart(f"{key}-{index}", title, losses, y_title="loss", colours=colours)
        drawings[phase] = drawn | _gates(f"{key}-gates", members)
    return drawings


def _gates(key: str, members: Sequence[EpochRow]) -> dict[str, Markup]:
    """Draw the similarity of a router's gates between regions in the epoch that was kept; nothing without a router."""
    routed = [row for row in members if "gates" in row]
    if not routed:
        return {}
    best = max(routed, key=lambda row: (row["val"]["mean"], -row["epoch"]))
    title, found = f"gates of the router, epoch {best['epoch'] + 1}", best["gates"]
    said = "Mean cosine between the gates of two validation images, by their regions; 1 if they are mixed alike."
    return {title: heat_map.heat_map(key, title, said, found["similarity"], note="similarity of gates between regions")}


def _curves(epochs: Iterable[tuple[int, Mapping[str, float]]]) -> Mapping[str, Sequence[tuple[float, float]]]:
    """Return points by region from values by region of each epoch; the first epoch is 1."""
    curves: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for epoch, values in epochs:
        for region, value in values.items():
            curves[region].append((epoch + 1.0, value))
    return curves


def _validation_metric(row: EpochRow) -> str | None:
    """Return the name of the metric that chose the best epoch: that of the task of the phase; None without one."""
    return next((name for name in row["val"] if name != "mean"), None)


def _phases(rows: Sequence[EpochRow]) -> dict[str, list[EpochRow]]:
    by_phase: dict[str, list[EpochRow]] = defaultdict(list)
    for row in rows:
        by_phase[row["phase"]].append(row)
    validated = {phase: members for phase, members in by_phase.items() if _validation_metric(members[0]) is not None}
    regions = [frozenset(_validation(members[0])) for members in validated.values()]
    apart = sum(map(len, regions)) == len(frozenset().union(*regions))
    if not apart or len(validated) < 2:
        return dict(by_phase)
    others = {phase: members for phase, members in by_phase.items() if phase not in validated}
    return {**others, "all regions": [row for members in validated.values() for row in members]}


def _validation(row: EpochRow) -> Mapping[str, float]:
    """Return the validation metric by region; nothing of a phase that is not validated."""
    found: Mapping[str, float] = row["val"].get(_validation_metric(row) or "", {})
    return found


def _ratio(index: int, name: str, latency: Latency) -> Markup:
    if latency.ratio is None or latency.ci is None:
        return _NOTHING
    return panels.interval_chart(
        f"gate-latency-{index}",
        f"{name}: latency ratio",
        latency.ratio,
        latency.ci,
        limit=1 + latency.margin,
        neutral=1.0,
        log=True,
        noise=latency.noise_floor,
    )


def _change(index: int, name: str, accuracy: Accuracy) -> Markup:
    if accuracy.drop is None or accuracy.ci is None:
        return _NOTHING
    title = f"{name}: change of {metric(accuracy.metric)}"
    change, ci = 0.0 - accuracy.drop, (0.0 - accuracy.ci[1], 0.0 - accuracy.ci[0])
    return panels.interval_chart(f"gate-accuracy-{index}", title, change, ci, limit=-accuracy.allowed, neutral=0.0)


def _samples(index: int, name: str, latency: Latency) -> Markup:
    if latency.timings_ms is None:
        return _NOTHING
    return latency_samples.latency_strips(
        f"gate-samples-{index}", name, latency.timings_ms, latency.margin, latency.cycles_per_pair
    )


def _measured(evaluations: Evaluations, region: str) -> dict[str, RegionTables]:
    """Return the tables of a region by owner, the expert's first."""
    found = {"expert": evaluations.of("experts", region), "foundation": evaluations.of("foundation", region)}
    return {owner: tables for owner, tables in found.items() if tables is not None}


def _calibration(index: int, region: str, tables: Mapping[str, RegionTables]) -> Markup:
    curves = {owner: one.reliability for owner, one in tables.items() if one.reliability}
    return panels.calibration_chart(f"calibration-{index}", region, curves) if curves else _NOTHING


def _roc(index: int, region: str, tables: Mapping[str, RegionTables]) -> Markup:
    rows = {
        owner: roc.shown_classes(one.per_class) if one.per_class else _labels(one)
        for owner, one in tables.items()
        if one.per_class or one.labels
    }
    return roc.roc_curves(f"roc-{index}", region, rows) if rows else _NOTHING


def _positive(tables: Mapping[str, RegionTables]) -> dict[str, dict[str, PositiveScores]]:
    """Return the scores of the positive classes of nodes by owner and class; those of other tasks are none."""
    found = {
        owner: {name: row for name, row in (one.labels or {}).items() if isinstance(row, PositiveScores)}
        for owner, one in tables.items()
    }
    return {owner: rows for owner, rows in found.items() if rows}


def _histograms(index: int, region: str, tables: Mapping[str, RegionTables]) -> dict[str, Markup]:
    """Draw the scores of each positive class of nodes, by the first owner that was measured."""
    rows = next(iter(_positive(tables).values()), {})
    return {
        name: score_histograms.histogram(
            f"scores-{index}-{at}", f"{region}: scores of {name}", row.histogram, row.threshold
        )
        for at, (name, row) in enumerate(rows.items())
        if row.histogram is not None
    }


def _labels(tables: RegionTables) -> list[ClassScores]:
    """Return the labels of a multilabel network as classes against the rest, for their curves."""
    return [
        ClassScores.model_validate(
            {"class": name, "n": row.n_positive, "recall": row.sensitivity, "ppv": None, "auroc": row.auroc}
        ).with_changes(roc=row.roc)
        for name, row in (tables.labels or {}).items()
    ]
