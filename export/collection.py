"""Everything that is known about a run, as one document: what the report shows and `report.json` holds.

What was measured before is taken from the run's `measurements/`; what is missing, or belongs to an earlier state of
the run, is measured now.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lorkit.decompose.artifacts import MANIFEST, SCHEMA_VERSION, read_json, read_manifest
from lorkit.decompose.errors import ArtifactError
from lorkit.decompose.machine import fingerprint, tool_versions
from lorkit.decompose.progress import OnProgress
from lorkit.decompose.runs import Run, exports_of
from lorkit.decompose.tasks import get_task
from lorkit.export import gating
from lorkit.export.choices import tried_precisions
from lorkit.export.exported import Exported, read_exported
from lorkit.export.measurements import MODELS, evaluations_of, latencies_of
from lorkit.export.pictures import pictures_of

OWNER_OF = {"foundation": "foundation", "student": "student", "experts": "expert"}
METRICS = ("accuracy", "balanced_accuracy", "auroc", "ece")
"""Of a classification; of any other task the metrics that it names itself."""


def collect(run: Run, *, on_progress: OnProgress) -> dict[str, Any]:
    """Gather the document of a report.

    Keys, stable from version to version:
        `schema_version`, `kind` ("report"), `created`, `warnings`, `synthetic`, `machine`, `tools`;
        `run`: `id`, `name`, `method`, `seed`, `digest`, `created`, `settings`;
        `regions`: `name`, `task`, `classes`, `modality`, `synthetic`, `cases` by part;
        `task`, `metrics` (columns of the table), `headline` (the one that the gate judges by);
        `table`: one row a region, owner and export: `region`, `owner`, `source`, `n`, each of `metrics`, `ci`,
            `parameters`, `macs`, `size_bytes`, `target`, `profile`,
            `precision`, `parity`, `path` (below the run), `digest`, `latency` (`median_ms`, `p90_ms`, `p99_ms`,
            `throughput`, `peak_mib`, `batch`, `threads`, `provider`, or null);
        `summary`: what the experts save against the foundation, on average, and by how much the headline changes;
        `evaluations`: `confusion`, `reliability`, `per_class` or `per_structure`, and `classes` by model and region;
        `pictures`: outlines of masks by region, where the privacy of a run allows pixels in its exports;
        `training`: the lines of `metrics.jsonl`;
        `gate`: the stored gate without raw samples, with `stale`, or null;
        `precisions`: what `export --precision auto` tried, a row a region and precision, with why it was kept or lost;
        `chain`: `kind`, `name`, `digest`, `parent` of each artifact;
        `commands`: how to get all of this again.
    """
    warnings: list[str] = []
    evaluations = evaluations_of(run, warnings, on_progress)
    exports = [read_exported(entry.path) for entry in exports_of(run)]
    measured = latencies_of(run, exports, warnings, on_progress)
    task = get_task(run.regions[0].task)
    metrics = METRICS if task.name == "classification" else task.metrics
    table = _table(run, metrics, evaluations, exports, measured)
    if not exports:
        warnings.append("Nothing is exported yet: sizes and latencies are missing. Run `decompose export`.")
    chain = _chain(run, exports)
    warnings += _orphans(chain)
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
        "summary": summarise(table, task.headline),
        "evaluations": {model: _drawable(document) for model, document in evaluations.items()},
        "pictures": pictures_of(exports) if task.dense else {},
        "training": training(run),
        "gate": _gate(run, exports),
        "precisions": tried_precisions(run),
        "chain": chain,
        "commands": _commands(run, exports),
    }


def summarise(table: list[dict[str, Any]], headline: str = "balanced_accuracy") -> dict[str, float | None]:
    """Average what the experts save: geometric mean of baseline over expert, mean change of the headline metric."""
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


def training(run: Run) -> list[dict[str, Any]]:
    """Read the training log of a run, a row an epoch and phase."""
    path = run.path / "metrics.jsonl"
    if not path.is_file():
        return []
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except ValueError:
        raise ArtifactError(f"{path} is not JSON lines", required="an intact run", fix="train again") from None


def _table(
    run: Run,
    metrics: Sequence[str],
    evaluations: dict[str, dict[str, Any] | None],
    exports: list[Exported],
    measured: dict[str, dict[str, Any]],
) -> list[dict[str, Any]]:
    table = []
    for region in run.regions.names:
        for model in MODELS:
            block = ((evaluations[model] or {}).get("regions") or {}).get(region)
            own = [one for one in exports if one.owner == OWNER_OF[model] and one.region == region]
            if block is None and not own:
                continue
            scores = {
                "region": region,
                "owner": OWNER_OF[model],
                "source": (block or {}).get("source"),
                "n": (block or {}).get("n"),
                **{name: (block or {}).get(name) for name in metrics},
                "ci": {name: ((block or {}).get("ci") or {}).get(name) for name in metrics},
            }
            rows: list[Exported | None] = [*own] if own else [None]
            table += [{**scores, **_costs(run, one, measured)} for one in rows]
    return table


def _costs(run: Run, one: Exported | None, measured: dict[str, dict[str, Any]]) -> dict[str, Any]:
    names = ("parameters", "macs", "size_bytes", "target", "profile", "precision", "parity")
    row = None if one is None else measured.get(one.manifest.digest)
    shown = ("median_ms", "p90_ms", "p99_ms", "throughput", "peak_mib", "load_ms", "batch", "threads", "provider")
    return {
        **{name: None if one is None else one.info.get(name) for name in names},
        "path": None if one is None else one.path.relative_to(run.path).as_posix(),
        "digest": None if one is None else one.manifest.digest,
        "latency": None if row is None else {name: row.get(name) for name in shown},
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
    names = ("n", "groups", "classes", "confusion", "reliability", "per_class", "per_structure", "source")
    return {
        region: {name: block.get(name) for name in names}
        for region, block in document["regions"].items()
    }  # fmt: skip


def _gate(run: Run, exports: list[Exported]) -> dict[str, Any] | None:
    """Return the stored gate without its raw samples; stale when it judged an export that is no longer the same."""
    path = run.measurements_dir / gating.NAME
    if not path.is_file():
        return None
    document = read_json(path, kind="gate")
    current = {one.manifest.digest for one in exports}
    for block in document["regions"].values():
        block["latency"].pop("samples_ms", None)
    judged = {block["candidate"]["digest"] for block in document["regions"].values()}
    return {**document, "stale": not judged <= current}


def _chain(run: Run, exports: list[Exported]) -> list[dict[str, Any]]:
    experts = [run.experts_dir / name for name in run.regions.names if (run.experts_dir / name / MANIFEST).is_file()]
    places = [run.foundation_dir, run.path, *experts]
    manifests = [read_manifest(place) for place in places if (place / MANIFEST).is_file()]
    manifests += [one.manifest for one in exports]
    return [
        {
            "kind": manifest.kind,
            "name": _name(manifest.path, run),
            "digest": manifest.digest,
            "parent": None if manifest.parent is None else manifest.parent["sha256"],
            "created": manifest.created,
        }
        for manifest in manifests
    ]


def _orphans(chain: list[dict[str, Any]]) -> list[str]:
    """Name what was made from an artifact that has been replaced since."""
    there = {row["digest"] for row in chain}
    orphans = [row["name"] for row in chain if row["parent"] is not None and row["parent"] not in there]
    if not orphans:
        return []
    return [f"Made from something that has been replaced since, make it anew: {', '.join(orphans)}."]


def _name(path: Path, run: Run) -> str:
    return run.id if path == run.path else path.relative_to(run.path).as_posix()


def _commands(run: Run, exports: list[Exported]) -> list[str]:
    where = f"--run {run.id}"
    ways = dict.fromkeys((one.info["target"], one.info["profile"], one.info["precision"]) for one in exports)
    return [
        f"decompose train runs/{run.id}/config.yaml",
        f"decompose extract {where} --region all",
        *(f"decompose export {where} --target {t} --profile {p} --precision {q}" for t, p, q in ways),
        f"decompose report {where}",
        f"decompose gate {where}",
    ]
