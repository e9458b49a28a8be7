"""The report of a run: one HTML file that needs no network, Markdown for pull requests, JSON for programs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from lorkit.decompose.artifacts import (
    building,
    digest_file,
    digest_json,
    is_current,
    write_json,
    write_manifest,
    write_text,
)
from lorkit.decompose.errors import UsageError
from lorkit.decompose.progress import OnProgress, ignore
from lorkit.decompose.runs import Run, open_run
from lorkit.export import charts
from lorkit.export.collection import collect
from lorkit.export.masks import colour
from lorkit.export.writing import FILTERS, metric

FILES = ("report.html", "report.md", "report.json")
_HERE = Path(__file__).parent
_SOURCES = (
    "report.html.jinja",
    "report.md.jinja",
    "report.css",
    "charts.py",
    "svg.py",
    "writing.py",
    "reporting.py",
    "pictures.py",
)
_TERMS = {"ce": "cross-entropy", "feature_kd": "feature distillation", "logit_kd": "logit distillation"}


@dataclass(frozen=True, kw_only=True)
class ReportResult:
    """A report on disk.

    Attributes:
        files: `report.html`, `report.md` and `report.json`.
        up_to_date: They were there already, and nothing that they show has changed.
    """

    files: list[Path]
    up_to_date: bool


def report(
    run: Path | str | None = None,
    *,
    against: Path | str | None = None,
    force: bool = False,
    on_progress: OnProgress = ignore,
) -> ReportResult:
    """Write the report of a run, measuring what has not been measured yet.

    Args:
        run: The run, by path or id; default the newest.
        against: Another run, by path or id, whose experts stand beside those of this one.
        force: Write it again although nothing changed.
        on_progress: Told what is being measured.

    Returns:
        Where `report.html`, `report.md` and `report.json` lie, and whether they were there already.

    Raises:
        UsageError: No such run, or a run against itself.
        ArtifactError: The run, or anything in it that the report shows, is damaged.
    """
    home = open_run(run)
    other = None if against is None else open_run(against)
    if other is not None and other.manifest.digest == home.manifest.digest:
        raise UsageError(f"run {home.id} against itself", required="another run", fix="name one with --against")
    document = collect(home, on_progress=on_progress)
    if other is not None:
        document["against"] = _compare(document, other, on_progress)
    inputs = _inputs(document)
    paths = [home.report_dir / name for name in FILES]
    if not force and is_current(home.report_dir, "report", inputs):
        return ReportResult(files=paths, up_to_date=True)
    with building(home.report_dir) as staging:
        write_json(staging / "report.json", document)
        write_text(staging / "report.html", render_html(document))
        write_text(staging / "report.md", render_markdown(document))
        write_manifest(staging, "report", synthetic=document["synthetic"], parent=home.path, inputs=inputs)
    return ReportResult(files=paths, up_to_date=False)


def render_html(document: Mapping[str, Any]) -> str:
    """Turn a report's document into one HTML page with its styles and drawings inside."""
    template = _environment(autoescape=True).get_template("report.html.jinja")
    css = Markup((_HERE / "report.css").read_text(encoding="utf-8"))  # our own file, not data
    return template.render(
        **{"against": None, **document},
        css=css,
        tiles=_tiles(document["summary"], document["headline"]),
        by_region=_by_region(document["table"]),
        drawings=draw(document),
        colour=lambda index: "rgb({}, {}, {})".format(*colour(index)),
    )


def render_markdown(document: Mapping[str, Any]) -> str:
    """Turn a report's document into Markdown."""
    return _environment(autoescape=False).get_template("report.md.jinja").render(**document)


def draw(document: Mapping[str, Any]) -> dict[str, Any]:
    """Draw everything that the page shows, by section and region."""
    names = [region["name"] for region in document["regions"]]
    return {
        "gate": _draw_gate(document["gate"]),
        "trade": _draw_trade(document["table"], document["headline"]),
        "calibration": {
            name: _draw_calibration(index, name, document["evaluations"]) for index, name in enumerate(names)
        },
        "training": _draw_training(
            document["training"], {name: index for index, name in enumerate(names)}, document["headline"]
        ),
    }


def _inputs(document: Mapping[str, Any]) -> str:
    """Digest what the report shows, but not when it was written, and what draws it."""
    shown = {name: value for name, value in document.items() if name != "created"}
    return digest_json({"document": shown, "sources": [digest_file(_HERE / name) for name in _SOURCES]})


def _environment(*, autoescape: bool) -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE),
        autoescape=autoescape,
        undefined=jinja2.StrictUndefined,
        trim_blocks=not autoescape,
        lstrip_blocks=not autoescape,
    )
    environment.filters.update(FILTERS)
    return environment


def _tiles(summary: Mapping[str, float | None], headline: str) -> list[tuple[str, str]]:
    wanted = (
        ("latency", "lower latency"),
        ("size_bytes", "fewer bytes"),
        ("macs", "fewer multiply-accumulates"),
    )
    tiles = [
        (f"{value:.1f}\N{MULTIPLICATION SIGN}", what) for name, what in wanted if (value := summary[name]) is not None
    ]
    change = summary[f"{headline}_change"]
    return tiles + (
        [(f"{100 * change:+.1f} pt".replace("-", "\N{MINUS SIGN}"), metric(headline))] if change is not None else []
    )


def _by_region(table: Sequence[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    rows: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for row in table:
        rows[row["region"]].append(row)
    return dict(rows)


def _draw_gate(gate: Mapping[str, Any] | None) -> dict[str, dict[str, Markup]]:
    drawings = {}
    for index, (name, block) in enumerate((gate or {}).get("regions", {}).items()):
        latency, accuracy = block["latency"], block["accuracy"]
        empty = Markup("")
        drawings[name] = {
            "latency": charts.interval(
                f"gate-latency-{index}",
                f"{name}: latency ratio",
                latency["ratio"],
                tuple(latency["ci"]),
                limit=1 + latency["margin"],
                neutral=1.0,
                log=True,
                noise=latency["noise_floor"],
            )
            if latency["ci"]
            else empty,
            "accuracy": charts.interval(
                f"gate-accuracy-{index}",
                f"{name}: drop of {metric(accuracy['metric'])}",
                accuracy["drop"],
                tuple(accuracy["ci"]),
                limit=accuracy["allowed"],
                neutral=0.0,
            )
            if accuracy["ci"]
            else empty,
        }
    return drawings


def _draw_trade(table: Sequence[Mapping[str, Any]], headline: str) -> dict[str, Markup]:
    points: dict[str, list[charts.Point]] = defaultdict(list)
    for row in table:
        if row["latency"] is None or row[headline] is None or row["size_bytes"] is None:
            continue
        ci = row["ci"][headline]
        point = charts.Point(
            owner=row["owner"],
            milliseconds=row["latency"]["median_ms"],
            accuracy=row[headline],
            ci=tuple(ci) if ci else None,
            size_bytes=row["size_bytes"],
        )
        points[row["region"]].append(point)
    if not points:
        return {}
    frame = charts.Frame.around([point for several in points.values() for point in several])
    return {
        name: charts.trade_off(f"trade-{index}", name, several, frame, metric(headline))
        for index, (name, several) in enumerate(points.items())
    }


def _draw_calibration(index: int, region: str, evaluations: Mapping[str, Any]) -> Markup | None:
    owners = {"foundation": "foundation", "experts": "expert"}
    blocks = {owner: (evaluations[model] or {}).get(region) for model, owner in owners.items()}
    curves = {owner: block["reliability"] for owner, block in blocks.items() if block and block.get("reliability")}
    return charts.calibration(f"calibration-{index}", region, curves) if curves else None


def _draw_training(
    rows: Sequence[Mapping[str, Any]], colours: Mapping[str, int], headline: str
) -> dict[str, dict[str, Markup]]:
    """Draw a panel a loss term and one of validation; phases that train other regions share their panels."""
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
        panels = {
            f"validation: {name}": charts.curves(
                f"{key}-val", f"Validation {name}", accuracy, y_title=name, colours=colours, bounds=(0.0, 1.0)
            )
        }
        for index, (term, series) in enumerate(losses.items()):
            spelled = "Dice + cross-entropy" if (term, headline) == ("ce", "dice") else _TERMS.get(term)
            title = f"loss: {spelled or term.replace('_', ' ')}"
            panels[title] = charts.curves(f"{key}-{index}", title, series, y_title="loss", colours=colours)
        drawings[phase] = panels
    return drawings


def _phases(rows: Sequence[Mapping[str, Any]], headline: str) -> dict[str, list[Mapping[str, Any]]]:
    by_phase: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        by_phase[str(row["phase"])].append(row)
    regions = [frozenset(members[0]["val"][headline]) for members in by_phase.values()]
    apart = sum(map(len, regions)) == len(frozenset().union(*regions))
    return {"all regions": list(rows)} if apart and len(by_phase) > 1 else dict(by_phase)


def _compare(document: Mapping[str, Any], other: Run, on_progress: OnProgress) -> dict[str, Any]:
    then = collect(other, on_progress=on_progress)
    old = {row["region"]: row for row in reversed(then["table"]) if row["owner"] == "expert"}
    new = {row["region"]: row for row in reversed(document["table"]) if row["owner"] == "expert"}
    shared = [name for name in new if name in old]
    rows = [{"region": name, "then": old[name], "now": new[name]} for name in shared]
    return {"id": other.id, "digest": other.manifest.digest, "rows": rows}
