"""The charts of a report's document, by section and region."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from lorkit.export.rendering.formatting import metric
from lorkit.export.reporting.charts import latency_samples, panels, roc, tradeoff

_TERMS = {"ce": "cross-entropy", "feature_kd": "feature distillation", "logit_kd": "logit distillation"}
_OWNERS = {"experts": "expert", "foundation": "foundation"}
_NOTHING = Markup("")
Document = Mapping[str, Any]


def draw(document: Document) -> dict[str, Any]:
    """Draw all charts of the page.

    Returns:
        `gate` (`latency`, `accuracy` and `samples` by region), `trade` by region, `calibration` and `roc` by region,
        `training` by phase and title. Charts without numbers are empty or missing.
    """
    names = [region["name"] for region in document["regions"]]
    colours = {name: index for index, name in enumerate(names)}
    evaluations = document["evaluations"]
    return {
        "gate": draw_gate(document["gate"]),
        "trade": draw_trade(document["table"], document["headline"]),
        "calibration": {name: _calibration(index, name, evaluations) for index, name in enumerate(names)},
        "roc": {name: _roc(index, name, evaluations) for index, name in enumerate(names)},
        "training": draw_training(document["training"], colours, document["headline"]),
    }


def label_of(row: Mapping[str, Any]) -> str:
    """Return what distinguishes an export from others of its region: owner, target, precision."""
    return " ".join(str(part) for part in (row["owner"], row["target"], row["precision"]) if part)


def anchors(table: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return the id of each export's card by digest; names from data are not safe ids."""
    return {row["digest"]: f"export-{index}" for index, row in enumerate(table) if row["digest"]}


def draw_gate(gate: Mapping[str, Any] | None) -> dict[str, dict[str, Markup]]:
    """Draw the intervals and the raw samples of each region."""
    return {
        name: {
            "latency": _ratio(index, name, block["latency"]),
            "accuracy": _change(index, name, block["accuracy"]),
            "samples": _samples(index, name, block["latency"]),
        }
        for index, (name, block) in enumerate((gate or {}).get("regions", {}).items())
    }


def draw_trade(table: Sequence[Mapping[str, Any]], headline: str) -> dict[str, Markup]:
    """Draw accuracy, latency and size of the exports of each region."""
    points: dict[str, list[tradeoff.ExportPoint]] = defaultdict(list)
    places = anchors(table)
    told = [name for name in ("target", "precision") if len({row[name] for row in table if row["digest"]}) > 1]
    for row in table:
        if row["latency"] is None or row[headline] is None or row["size_bytes"] is None:
            continue
        ci = row["ci"][headline]
        point = tradeoff.ExportPoint(
            owner=row["owner"],
            label=label_of(row),
            short=" ".join([row["owner"], *(str(row[name]) for name in told)]),
            milliseconds=row["latency"]["median_ms"],
            accuracy=row[headline],
            ci=tuple(ci) if ci else None,
            size_bytes=row["size_bytes"],
            href=f"#{places[row['digest']]}",
        )
        points[row["region"]].append(point)
    if not points:
        return {}
    frame = tradeoff.Frame.around([point for several in points.values() for point in several])
    return {
        name: tradeoff.trade_off(f"trade-{index}", name, several, frame, metric(headline))
        for index, (name, several) in enumerate(points.items())
    }


def draw_training(
    rows: Sequence[Mapping[str, Any]], colours: Mapping[str, int], headline: str
) -> dict[str, dict[str, Markup]]:
    """Draw a panel per loss term and one of validation; phases that train other regions share their panels."""
    groups, name = _phases(rows, headline), metric(headline)
    drawings: dict[str, dict[str, Markup]] = {}
    for number, (phase, members) in enumerate(groups.items()):
        accuracy: dict[str, list[tuple[float, float]]] = defaultdict(list)
        losses: dict[str, dict[str, list[tuple[float, float]]]] = defaultdict(lambda: defaultdict(list))
        for row in members:
            epoch = float(row["epoch"] + 1)
            for region, value in row["val"][headline].items():
                accuracy[region].append((epoch, value))
            for term, values in row["loss"].items():
                for region, value in values.items():
                    losses[term][region].append((epoch, value))
        key = f"training-{number}"
        drawn = {
            f"validation: {name}": panels.curve_chart(
                f"{key}-val", f"Validation {name}", accuracy, y_title=name, colours=colours, bounds=(0.0, 1.0)
            )
        }
        for index, (term, series) in enumerate(losses.items()):
            spelled = "Dice + cross-entropy" if (term, headline) == ("ce", "dice") else _TERMS.get(term)
            title = f"loss: {spelled or term.replace('_', ' ')}"
            drawn[title] = panels.curve_chart(f"{key}-{index}", title, series, y_title="loss", colours=colours)
        drawings[phase] = drawn
    return drawings


def _ratio(index: int, name: str, latency: Mapping[str, Any]) -> Markup:
    if not latency.get("ci"):
        return _NOTHING
    return panels.interval_chart(
        f"gate-latency-{index}",
        f"{name}: latency ratio",
        latency["ratio"],
        tuple(latency["ci"]),
        limit=1 + latency["margin"],
        neutral=1.0,
        log=True,
        noise=latency["noise_floor"],
    )


def _change(index: int, name: str, accuracy: Mapping[str, Any]) -> Markup:
    if not accuracy.get("ci"):
        return _NOTHING
    title = f"{name}: change of {metric(accuracy['metric'])}"
    low, high = accuracy["ci"]
    limits = {"limit": -accuracy["allowed"], "neutral": 0.0}
    return panels.interval_chart(
        f"gate-accuracy-{index}", title, 0.0 - accuracy["drop"], (0.0 - high, 0.0 - low), **limits
    )


def _samples(index: int, name: str, latency: Mapping[str, Any]) -> Markup:
    samples = latency.get("samples_ms")
    if not samples:
        return _NOTHING
    cycles = latency.get("cycles_per_pair")
    return latency_samples.latency_strips(f"gate-samples-{index}", name, samples, latency["margin"], cycles)


def _blocks(region: str, evaluations: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    found = {owner: (evaluations[model] or {}).get(region) for model, owner in _OWNERS.items()}
    return {owner: block for owner, block in found.items() if block}


def _calibration(index: int, region: str, evaluations: Mapping[str, Any]) -> Markup:
    blocks = _blocks(region, evaluations)
    curves = {owner: block["reliability"] for owner, block in blocks.items() if block.get("reliability")}
    return panels.calibration_chart(f"calibration-{index}", region, curves) if curves else _NOTHING


def _roc(index: int, region: str, evaluations: Mapping[str, Any]) -> Markup:
    rows = {owner: block["per_class"] for owner, block in _blocks(region, evaluations).items() if block["per_class"]}
    return roc.roc_curves(f"roc-{index}", region, rows) if rows else _NOTHING


def _phases(rows: Sequence[Mapping[str, Any]], headline: str) -> dict[str, list[Mapping[str, Any]]]:
    by_phase: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        by_phase[str(row["phase"])].append(row)
    regions = [frozenset(members[0]["val"][headline]) for members in by_phase.values()]
    apart = sum(map(len, regions)) == len(frozenset().union(*regions))
    return {"all regions": list(rows)} if apart and len(by_phase) > 1 else dict(by_phase)
