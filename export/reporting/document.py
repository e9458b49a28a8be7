"""The document of a report, `report.json`.

Earlier measurements are taken from the run's `measurements/`; missing ones, or those of an earlier state of the run,
are measured.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import Any

from lorkit.decompose.artifacts import SCHEMA_VERSION, read_json
from lorkit.decompose.documents.export import ScoredExport
from lorkit.decompose.events import Listener
from lorkit.decompose.machine import fingerprint, tool_versions
from lorkit.decompose.runs import MODELS, Run, exports_of
from lorkit.decompose.tasks import get_task
from lorkit.export.gating import gating
from lorkit.export.reporting.export_scores import answers_as_network, scores_of
from lorkit.export.reporting.measurements import evaluations_of, latencies_of
from lorkit.export.reporting.pictures import pictures_of
from lorkit.export.reporting.provenance import chain_of, commands_for, commands_of, orphans
from lorkit.export.runtime.exported import Exported, read_exported
from lorkit.export.runtime.preference import precision_trials

OWNER_OF = {"foundation": "foundation", "student": "student", "experts": "expert"}
METRICS = ("accuracy", "balanced_accuracy", "auroc", "ece")
"""Of a classification; of any other task the metrics that it names itself."""


def report_document(run: Run, *, on_event: Listener) -> dict[str, Any]:
    """Build the document of a report.

    Keys, stable from version to version:
        `schema_version`, `kind` ("report"), `created`, `warnings`, `synthetic`, `machine`, `tools`;
        `run`: `id`, `name`, `method`, `seed`, `digest`, `created`, `settings`;
        `regions`: `name`, `task`, `classes`, `modality`, `synthetic`, `cases` by part;
        `task`, `metrics` (columns of the table), `headline` (the one that the gate judges by);
        `table`: one row per region, owner and export: `region`, `owner`, `source`, `n`, each of `metrics`, `ci`,
            `parameters`, `macs`, `size_bytes`, `target`, `profile`, `precision`, `opset`, `nodes`, `parity`, `path`
            (below the run), `digest`, `latency` (`median_ms`, `p90_ms`, `p99_ms`, `throughput`, `peak_mib`, `batch`,
            `threads`, `provider`, or null), `scored` (source of the metrics: "network", "export" or
            null), `commands` (check, time and use it);
        `summary`: mean savings of the experts against the foundation, and the change of the headline metric;
        `evaluations`: `confusion`, `reliability`, `per_class` (with `roc`) or `per_structure`, and `classes` by model
            and region;
        `pictures`: images with predictions by region, if the privacy of a run allows pixels in its exports;
        `training`: the lines of `metrics.jsonl`;
        `gate`: the stored gate with its raw samples, with `stale`, or null;
        `precisions`: trials of `export --precision auto`, one row per region and precision, with the reason;
        `chain`: `kind`, `name`, `digest`, `parent` of each artifact;
        `commands`: commands to repeat all of this.
    """
    warnings: list[str] = []
    found = evaluations_of(run, warnings, on_event)
    evaluations = {model: None if one is None else one.to_json() for model, one in found.items()}
    exports = [read_exported(entry.path) for entry in exports_of(run)]
    rows = latencies_of(run, exports, warnings, on_event)
    measured = {digest: row.to_json() for digest, row in rows.items()}
    task = get_task(run.regions[0].task)
    metrics = METRICS if task.name == "classification" else task.metrics
    scored = scores_of(run, exports, warnings, on_event)
    table = _table(run, metrics, evaluations, exports, measured, scored)
    if not exports:
        warnings.append("Nothing is exported yet: sizes and latencies are missing. Run `decompose export`.")
    chain, gate = chain_of(run, exports), _gate(run, exports)
    warnings += orphans(chain)
    return {
        "schema_version": SCHEMA_VERSION,
        "kind": "report",
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "warnings": warnings,
        "synthetic": run.manifest.synthetic,
        "machine": fingerprint(),
        "tools": tool_versions(),
        "run": _about(run),
        "regions": _regions(run),
        "task": task.name,
        "metrics": list(metrics),
        "headline": task.headline,
        "table": table,
        "summary": average_savings(table, task.headline),
        "evaluations": {model: _drawable(document) for model, document in evaluations.items()},
        "pictures": pictures_of(exports),
        "training": run.metrics,
        "gate": gate,
        "precisions": [row.to_json() for row in precision_trials(run)],
        "chain": chain,
        "commands": commands_of(run, exports, gate),
    }


def average_savings(table: list[dict[str, Any]], headline: str = "balanced_accuracy") -> dict[str, float | None]:
    """Return the experts' savings: geometric mean of baseline over expert, mean change of the headline metric."""
    best: dict[str, dict[str, dict[str, Any]]] = {}
    for row in table:
        best.setdefault(row["region"], {}).setdefault(row["owner"], row)
    pairs = [(row["foundation"], row["expert"]) for row in best.values() if {"foundation", "expert"} <= set(row)]
    exported = [pair for pair in pairs if pair[0]["digest"] and pair[1]["digest"]]
    pairs = exported or pairs

    def shrink(get: Any) -> float | None:
        found = [(get(one), get(two)) for one, two in pairs]
        ratios = [one / two for one, two in found if one and two]
        product = 1.0
        for ratio in ratios:
            product *= ratio ** (1 / len(ratios))
        return product if ratios else None

    changes = [
        two[headline] - one[headline] for one, two in pairs if one[headline] is not None and two[headline] is not None
    ]
    return {
        "parameters": shrink(lambda row: row["parameters"]),
        "macs": shrink(lambda row: row["macs"]),
        "size_bytes": shrink(lambda row: row["size_bytes"]),
        "latency": shrink(lambda row: (row["latency"] or {}).get("median_ms")),
        f"{headline}_change": sum(changes) / len(changes) if changes else None,
    }


def _table(
    run: Run,
    metrics: Sequence[str],
    evaluations: dict[str, dict[str, Any] | None],
    exports: list[Exported],
    measured: dict[str, dict[str, Any]],
    scored: dict[str, ScoredExport],
) -> list[dict[str, Any]]:
    table = []
    for region in run.regions.names:
        for model in reversed(MODELS):
            block = ((evaluations[model] or {}).get("regions") or {}).get(region)
            own = [one for one in exports if one.owner == OWNER_OF[model] and one.region.name == region]
            if block is None and not own:
                continue
            rows: list[Exported | None] = [*own] if own else [None]
            for one in rows:
                scores = _scores(block, one, metrics, scored)
                table.append({"region": region, "owner": OWNER_OF[model], **scores, **_costs(run, one, measured)})
    return table


def _scores(
    network: dict[str, Any] | None, one: Exported | None, metrics: Sequence[str], scored: dict[str, ScoredExport]
) -> dict[str, Any]:
    """Return the scores of an export: its network's if their outputs are equal, else its own."""
    as_network = one is None or answers_as_network(one)
    own = None if one is None else scored.get(one.manifest.digest)
    block = network if as_network else None if own is None else own.to_json()
    return {
        "source": (network or {}).get("source"),
        "scored": None if block is None else "network" if as_network else "export",
        "n": (network or {}).get("n"),
        **{name: (block or {}).get(name) for name in metrics},
        "ci": {name: ((block or {}).get("ci") or {}).get(name) for name in metrics},
    }


def _costs(run: Run, one: Exported | None, measured: dict[str, dict[str, Any]]) -> dict[str, Any]:
    names = ("parameters", "macs", "size_bytes", "target", "profile", "precision", "opset", "nodes", "parity")
    row = None if one is None else measured.get(one.manifest.digest)
    shown = ("median_ms", "p90_ms", "p99_ms", "throughput", "peak_mib", "load_ms", "batch", "threads", "provider")
    return {
        **{name: None if one is None else one.info.to_json().get(name) for name in names},
        "path": None if one is None else one.path.relative_to(run.path).as_posix(),
        "digest": None if one is None else one.manifest.digest,
        "latency": None if row is None else {name: row.get(name) for name in shown},
        "commands": [] if one is None else commands_for(one, run),
    }


def _about(run: Run) -> dict[str, Any]:
    config = run.config.model_dump(mode="json", exclude={"regions"})
    return {
        "id": run.id,
        "name": config.pop("name"),
        "method": config.pop("method"),
        "seed": config.pop("seed"),
        "digest": run.manifest.digest,
        "created": run.manifest.created,
        "settings": config,
    }


def _regions(run: Run) -> list[dict[str, Any]]:
    splits = read_json(run.path / "splits.json", kind="splits")["regions"]
    return [
        {**row, "cases": {part: len(digests) for part, digests in splits.get(row["name"], {}).items()}}
        for row in run.regions.to_json()
    ]


def _drawable(document: dict[str, Any] | None) -> dict[str, Any] | None:
    if document is None:
        return None
    names = ("n", "groups", "classes", "confusion", "reliability", "per_class", "per_structure", "ece", "source")
    return {
        region: {**{name: block.get(name) for name in names}, "ece_ci": (block.get("ci") or {}).get("ece")}
        for region, block in document["regions"].items()
    }  # fmt: skip


def _gate(run: Run, exports: list[Exported]) -> dict[str, Any] | None:
    """Return the stored gate; stale if it judged an export that has changed."""
    path = run.measurements_dir / gating.NAME
    if not path.is_file():
        return None
    document = read_json(path, kind="gate")
    current = {one.manifest.digest for one in exports}
    judged = {block["candidate"]["digest"] for block in document["regions"].values()}
    return {**document, "stale": not judged <= current}
