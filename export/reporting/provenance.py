"""Provenance of a run and the commands that repeat it: the digest chain and the commands."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from lorkit.decompose.artifacts import MANIFEST, read_manifest
from lorkit.decompose.documents.gate import GateDocument
from lorkit.decompose.documents.heads import MIXTURES, REGION
from lorkit.decompose.documents.report import ChainLink
from lorkit.decompose.runs import Run
from lorkit.export.gating.limits import ByRegion
from lorkit.export.runtime.exported import Exported


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
    """Return the commands that repeat a run, with the limits of its gate."""
    where = f"--run {run.id}"
    ways = dict.fromkeys(one.key[1:] for one in exports)
    limits = "" if gate is None else _limits(gate)
    return [
        f"decompose train runs/{run.id}/config.yaml",
        f"decompose extract {where} --region all",
        *(f"decompose extract {where} --{name}" for name in MIXTURES if name in {one.key[0] for one in exports}),
        *(f"decompose export {where} --target {t} --profile {p} --precision {q}" for t, p, q in ways),
        *(f"decompose gate {where}{chosen}{limits}" for chosen in _baselines(run, gate)),
        f"decompose report {where}",
    ]


def _baselines(run: Run, gate: GateDocument | None) -> list[str]:
    """Return the options that name the baselines of a gate; without a foundation it has none of its own."""
    if run.has_foundation:
        return [""]
    if gate is None:
        return [" --baseline EXPORT"]
    paths = {name: block.baseline.path for name, block in gate.regions.items() if block.baseline.path is not None}
    if len(paths) == 1:
        return [f" --baseline {shlex.quote(path)}" for path in paths.values()]
    return [f" --region {name} --baseline {shlex.quote(path)}" for name, path in paths.items()]


def _limits(gate: GateDocument) -> str:
    drops = [f"{gate.max_accuracy_drop:g}", *(f"{name}={drop:g}" for name, drop in gate.max_accuracy_drops.items())]
    accuracies = [block.accuracy for block in gate.regions.values()]
    columns = dict.fromkeys(row.column for one in accuracies for row in one.subgroups if row.column is not None)
    said = f" --margin {gate.margin:g} --max-accuracy-drop {','.join(drops)}"
    for option, least in (("--min-accuracy", gate.min_accuracy), ("--min-recall", gate.min_recall)):
        said += f" {option} {ByRegion.of(least)}" if least else ""
    said += f" --seed {gate.seed}"
    said += "".join(f" --subgroup {shlex.quote(column)}" for column in columns)
    return said + (" --strict-subgroups" if any(one.strict for one in accuracies) else "")


def commands_for(one: Exported, run: Run) -> list[str]:
    """Return the commands that check, time and use one export."""
    path = f"runs/{run.id}/{one.path.relative_to(run.path).as_posix()}"
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
