"""The document of a report, `report.json`.

Earlier measurements are taken from the run's `measurements/`; missing ones, or those of an earlier state of the run,
are measured.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from lorkit.decompose.documents.base import Interval, Owner, combine
from lorkit.decompose.documents.bench import BenchRow
from lorkit.decompose.documents.evaluate import EvaluateDocument, ModelName, RegionEvaluation
from lorkit.decompose.documents.export_results import ScoredExport
from lorkit.decompose.documents.report import (
    Evaluations,
    RegionTables,
    ReportDocument,
    ReportedGate,
    ReportedRegion,
    ReportedRun,
    Saving,
)
from lorkit.decompose.documents.report_row import MixtureRow, ReportedLatency, ReportRow
from lorkit.decompose.documents.scores import HEADLINE
from lorkit.decompose.events import Listener
from lorkit.decompose.machine import fingerprint, tool_versions
from lorkit.decompose.runs import Run, exports_of
from lorkit.decompose.runs.locked_data import RunSplits
from lorkit.decompose.tasks import headline_name
from lorkit.export.gating.record import read_verdicts
from lorkit.export.reporting.graphs import graphs_of
from lorkit.export.reporting.measurements import answers_as_network, evaluations_of, latencies_of, scores_of, unsealed
from lorkit.export.reporting.pictures import pictures_of
from lorkit.export.reporting.provenance import chain_of, commands_for, commands_of, orphans
from lorkit.export.runtime.exported import Exported, read_exported
from lorkit.export.runtime.preference import tried_exports

MODEL_OF: dict[Owner, ModelName] = {"foundation": "foundation", "student": "student", "expert": "experts"}
METRICS = {
    "classification": ("accuracy", "balanced_accuracy", "auroc", "ece"),
    "multilabel": ("auroc", "ap", "ece"),
    "segmentation": ("dice", "nsd", "hd95"),
    "structures": ("dice", "nsd", "hd95"),
    "node": ("ap", "auroc", "recall_at_k", "f1_macro", "gmean"),
}
"""Columns of the table by task; further ones are in the tables of regions."""
_COSTS = ("parameters", "macs", "size_bytes", "target", "profile", "precision", "opset", "nodes", "parity")


def report_document(run_splits: RunSplits, *, on_event: Listener) -> ReportDocument:
    """Build the document of a report.

    Args:
        run_splits: The run and its data, which are read only for missing measurements.
        on_event: Receives progress.

    Raises:
        ArtifactError: The run, or an artifact in the report, is damaged.
    """
    run, warnings = run_splits.run, list[str]()
    tasks = list(dict.fromkeys(region.task for region in run.regions))
    metrics = tuple(dict.fromkeys(metric for name in tasks for metric in METRICS[name]))
    headline = headline_name(run.regions)
    found = [
        read_exported(entry.path, chained=True) for entry in exports_of(run)
    ]  # refuses before anything is measured
    marked = unsealed(run)
    evaluations = evaluations_of(run_splits, warnings, on_event)
    exports = [one for one in found if one.info.mixture is None]
    latencies = latencies_of(run, found, warnings, on_event)
    scores = scores_of(run_splits, exports, warnings, on_event)
    graphs = graphs_of(run_splits, warnings, on_event)
    table = _Measured(run, metrics, evaluations, latencies, scores).rows(exports)
    if not found:
        warnings.append("Nothing is exported yet: sizes and latencies are missing. Run `decompose export`.")
    warnings += [
        f"Region {one.name}: split by image: patients unknown." for one in run.regions if one.words.group == "image"
    ]
    chain, gate = chain_of(run, found), _gate(run)
    return ReportDocument(
        warnings=[*warnings, *orphans(chain), *marked],
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        synthetic=run.synthetic,
        machine=fingerprint(),
        tools=tool_versions(),
        run_info=_about(run),
        regions=_regions(run_splits),
        task=tasks[0] if len(tasks) == 1 else "mixed",
        metrics=list(metrics),
        headline_metric=headline,
        table=table,
        mixtures=[_mixture_row(run, one, latencies) for one in found if one.info.mixture is not None],
        summary=savings_of(table),
        evaluations=Evaluations({model: _tables(found) for model, found in evaluations.items()}),
        graphs=graphs,
        pictures=pictures_of(exports),
        training=run.metrics,
        gate=gate,
        precisions=tried_exports(run),
        chain=chain,
        commands=commands_of(run, found, gate),
    )


def _mixture_row(run: Run, one: Exported, latencies: Mapping[str, BenchRow]) -> MixtureRow:
    mixture, latency = one.info.mixture, latencies.get(one.manifest.digest)
    assert mixture is not None
    return MixtureRow(
        name=mixture.form,
        region_names=[head.region for head in mixture.heads],
        policy=mixture.policy,
        abstain_below=mixture.abstain_below,
        **{name: getattr(one.info, name) for name in _COSTS if name in MixtureRow.model_fields},
        path=one.path.relative_to(run.path).as_posix(),
        digest=one.manifest.digest,
        latency=None if latency is None else _latency(latency),
        commands=commands_for(one, run),
    )


def _latency(row: BenchRow) -> ReportedLatency:
    return ReportedLatency.model_validate(row, from_attributes=True)


def savings_of(table: Sequence[ReportRow]) -> dict[Saving, Interval | None]:
    """Return the smallest and largest ratio of foundation over expert among the regions, by cost."""
    best: dict[str, dict[Owner, ReportRow]] = {}
    for row in table:
        best.setdefault(row.region, {}).setdefault(row.owner, row)
    pairs = [(row["foundation"], row["expert"]) for row in best.values() if {"foundation", "expert"} <= set(row)]
    pairs = [pair for pair in pairs if pair[0].digest and pair[1].digest] or pairs
    counted: tuple[Saving, ...] = ("parameters", "macs", "size_bytes")
    found = {name: _range((getattr(before, name), getattr(after, name)) for before, after in pairs) for name in counted}
    return found | {"latency": _range((_median(before), _median(after)) for before, after in pairs)}


def _median(row: ReportRow) -> float | None:
    return None if row.latency is None else row.latency.median_ms


def _range(pairs: Iterable[tuple[float | None, float | None]]) -> tuple[float, float] | None:
    """Return the smallest and largest of first over second; None if no pair has both."""
    ratios = [before / after for before, after in pairs if before and after]
    return (min(ratios), max(ratios)) if ratios else None


@dataclass(frozen=True)
class _Measured:
    """The measurements of a run: evaluations by model, latencies and scores by digest of the export."""

    run: Run
    metrics: Sequence[str]
    evaluations: Mapping[ModelName, EvaluateDocument | None]
    latencies: Mapping[str, BenchRow]
    scores: Mapping[str, ScoredExport]

    def rows(self, exports: Sequence[Exported]) -> list[ReportRow]:
        """Return one row per export by region and owner, and one per network without an export."""
        rows = []
        for region in self.run.regions.names:
            for owner, model in MODEL_OF.items():
                document = self.evaluations[model]
                network = None if document is None else document.regions.get(region)
                own = [one for one in exports if (one.owner, one.region.name) == (owner, region)]
                shown: Sequence[Exported | None] = own or [None] * (network is not None)
                rows += [self._row(region, owner, network, one) for one in shown]
        return rows

    def _row(self, region: str, owner: Owner, network: RegionEvaluation | None, one: Exported | None) -> ReportRow:
        """Return one row, with the scores of the network if the export has equal outputs, else its own."""
        digest = None if one is None else one.manifest.digest
        scored = "network" if one is None or answers_as_network(one) else "export"
        scores = network if scored == "network" else self.scores.get(str(digest))
        mixed = scores is not None and headline_name(self.run.regions) == HEADLINE
        info, latency = None if one is None else one.info, self.latencies.get(str(digest))
        return ReportRow.model_validate(
            {
                "region": region,
                "owner": owner,
                "source": None if network is None else network.source,
                "scored": None if scores is None else scored,
                "n": None if network is None else network.n,
                **{name: None if scores is None else scores.value(name) for name in self.metrics},
                **({HEADLINE: scores.value(HEADLINE)} if scores is not None and mixed else {}),
                "ci": {name: None if scores is None else scores.ci.get(name) for name in self.metrics}
                | ({HEADLINE: scores.ci.get(scores.headline_metric)} if scores is not None and mixed else {}),
                "unit": getattr(scores, "unit", None),
                **{name: getattr(info, name, None) for name in _COSTS},
                "path": None if one is None else one.path.relative_to(self.run.path).as_posix(),
                "digest": digest,
                "latency": None if latency is None else _latency(latency),
                "commands": [] if one is None else commands_for(one, self.run),
            }
        )


def _about(run: Run) -> ReportedRun:
    settings = run.config.model_dump(mode="json", exclude={"regions", "name", "method", "seed"})
    if run.given is not None:  # nothing else was used
        settings = {key: settings[key] for key in ("image", "split", "privacy")}
    reported = ReportedRun(
        id=run.id,
        name=run.config.name,
        method=run.config.method,
        seed=run.config.seed,
        digest=run.manifest.digest,
        created=run.manifest.created,
        has_foundation=run.has_foundation,
        configuration=settings,
    )
    teachers = run.teachers(run.regions.names)
    return reported.with_changes(teachers=teachers) if teachers else reported


def _regions(run_splits: RunSplits) -> dict[str, ReportedRegion]:
    return {
        row["name"]: ReportedRegion(
            **row,
            cases={part: len(some) for part, some in run_splits.digests(row["name"]).items()}
            | run_splits.run.unlabelled(row["name"]),
            spacing=_spacing(run_splits.run, row["name"]),
        )
        for row in run_splits.run.regions.to_json()
    }


def _spacing(run: Run, region: str) -> list[float] | None:
    stated = None if region not in run.config.regions else run.config.regions[region].spacing
    return None if stated is None else [*stated]


def _tables(document: EvaluateDocument | None) -> dict[str, RegionTables] | None:
    if document is None:
        return None
    names = [name for name in RegionTables.model_fields if name not in ("ece_ci", "volume_bias_ci")]
    return {
        region: RegionTables.model_validate(
            {name: getattr(block, name, None) for name in names}
            | {"ece_ci": block.ci.get("ece"), "volume_bias_ci": block.ci.get("volume_bias")}
        )
        for region, block in document.regions.items()
    }


def _gate(run: Run) -> ReportedGate | None:
    """Return the stored gate; stale if a verdict is on exports that have changed."""
    document = read_verdicts(run)
    if document is None:
        return None
    return combine(ReportedGate, document, stale=any(block.stale for block in document.regions.values()))
