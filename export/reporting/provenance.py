"""Provenance of a run and the commands that repeat it: the digest chain and the commands."""

from __future__ import annotations

from collections.abc import Sequence

from lorkit.decompose.artifacts import MANIFEST, read_manifest
from lorkit.decompose.documents.evaluate import EvaluateDocument
from lorkit.decompose.documents.expert import ExpertInfo
from lorkit.decompose.documents.export_results import ExportChoice
from lorkit.decompose.documents.gate import GateDocument
from lorkit.decompose.documents.heads import MIXTURES, REGION
from lorkit.decompose.documents.report import ChainLink
from lorkit.decompose.errors import ArtifactError
from lorkit.decompose.runs import Run
from lorkit.decompose.runs.lineage import RunFinder
from lorkit.decompose.runs.listing import EXPERT_INFO
from lorkit.export.benchmarking.benchmark import stored
from lorkit.export.reporting.commands import (
    bench_commands,
    evaluate_commands,
    export_commands,
    extract_commands,
    gate_commands,
    train_command,
)
from lorkit.export.runtime.exported import Exported
from lorkit.export.runtime.preference import recorded_regions


def chain_of(run: Run, exports: Sequence[Exported]) -> list[ChainLink]:
    """Return each artifact of a run, parents before children."""
    names = (*run.regions.names, *MIXTURES)
    experts = [run.experts_dir / name for name in names if (run.experts_dir / name / MANIFEST).is_file()]
    places = [run.foundation_dir, run.path, *experts]
    manifests = [read_manifest(place) for place in places if (place / MANIFEST).is_file()]
    manifests += [one.manifest for one in exports]
    return [
        ChainLink(
            kind=manifest.kind,
            name=run.id if manifest.path == run.path else manifest.path.relative_to(run.path).as_posix(),
            digest=manifest.digest,
            parent=None if manifest.parent is None else manifest.parent["sha256"],
            created=manifest.created,
        )
        for manifest in manifests
    ]


def orphans(chain: Sequence[ChainLink]) -> list[str]:
    """Return the names of artifacts made from one that has been replaced since."""
    known = {None, *(link.digest for link in chain)}
    lost = [link.name for link in chain if link.parent not in known]
    if not lost:
        return []
    return [f"Made from an artifact that was replaced later. Make again: {', '.join(lost)}."]


def commands_of(run: Run, exports: Sequence[Exported], gate: GateDocument | None) -> list[str]:
    """Return the commands that repeat a run, with every option that its documents hold; the last makes the report."""
    return [
        train_command(run, _source(run)),
        *([] if run.given is not None else extract_commands(run, _experts(run, exports))),
        *evaluate_commands(run, _evaluations(run)),
        *export_commands(run, exports, _choices(run)),
        *bench_commands(run, stored(run)),
        *gate_commands(run, gate),
        f"decompose report --run {run.selector}",
    ]


def _source(run: Run) -> Run | None:
    """Return the run that a run was made from; None if there is none, or it is not intact beside it."""
    origin = run.manifest.extra.get("origin")
    try:
        return None if origin is None else RunFinder().with_digest(str(origin["sha256"]), run.path.parent)
    except ArtifactError:
        return None


def _experts(run: Run, exports: Sequence[Exported]) -> dict[str, ExpertInfo | None]:
    """Return what was extracted by name, with the documents of regions; an export without its expert has none."""
    exported = {one.key[0] for one in exports if one.owner == "expert"}
    found: dict[str, ExpertInfo | None] = {}
    for name in (*run.regions.names, *MIXTURES):
        path = run.experts_dir / name / EXPERT_INFO
        if name not in MIXTURES and path.is_file():
            found[name] = ExpertInfo.read(path, fix="extract it again with --force")
        elif name in exported or path.is_file():
            found[name] = None
    return found


def _evaluations(run: Run) -> list[EvaluateDocument]:
    paths = sorted(run.measurements_dir.glob("evaluate-*.json"))
    documents = [EvaluateDocument.read(path, fix="remove it") for path in paths]
    return [document for document in documents if document.run_digest == run.manifest.digest]


def _choices(run: Run) -> dict[str, list[ExportChoice]]:
    found: dict[str, list[ExportChoice]] = {}
    for path in sorted(run.measurements_dir.glob("choice-*.json")):
        for region, choice in recorded_regions(path).items():
            found.setdefault(region, []).append(choice)
    return found


def commands_for(one: Exported, run: Run) -> list[str]:
    """Return the commands that check, time and use one export."""
    path = f"{run.place}/{one.path.relative_to(run.path).as_posix()}"
    allowed = " --allow-synthetic" if one.synthetic else ""
    return [
        f"sha256sum {path}/manifest.json",
        f"decompose verify {path}",
        f"decompose bench {path}",
        *(f"decompose predict {path} {what}{allowed}" for what in _inputs(one) if one.owner == "expert"),
    ]


def _inputs(one: Exported) -> list[str]:
    """Return what `predict` is given for an export; nothing if it takes none."""
    nodes = one.recipe.nodes
    if nodes is not None:
        return ["--stream ROWS --store FILE"] if nodes.keys else []
    return [] if REGION in one.info.inputs else ["IMAGE"]
