"""Provenance of a run and the commands that repeat it: the digest chain and the commands."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lorkit.decompose.artifacts import MANIFEST, read_manifest
from lorkit.decompose.runs import Run
from lorkit.export.runtime.exported import Exported


def chain_of(run: Run, exports: Sequence[Exported]) -> list[dict[str, Any]]:
    """Return `kind`, `name`, `digest`, `parent` and `created` of each artifact, parents before children."""
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


def orphans(chain: Sequence[dict[str, Any]]) -> list[str]:
    """Return the names of artifacts made from one that has been replaced since."""
    there = {row["digest"] for row in chain}
    lost = [row["name"] for row in chain if row["parent"] is not None and row["parent"] not in there]
    if not lost:
        return []
    return [f"Made from an artifact that was replaced later. Make again: {', '.join(lost)}."]


def commands_of(run: Run, exports: Sequence[Exported], gate: dict[str, Any] | None) -> list[str]:
    """Return the commands that repeat a run, with the limits of its gate."""
    where = f"--run {run.id}"
    ways = dict.fromkeys(one.key[1:] for one in exports)
    limits = "" if gate is None else _limits(gate)
    return [
        f"decompose train runs/{run.id}/config.yaml",
        f"decompose extract {where} --region all",
        *(f"decompose export {where} --target {t} --profile {p} --precision {q}" for t, p, q in ways),
        f"decompose gate {where}{limits}",
        f"decompose report {where}",
    ]


def _limits(gate: dict[str, Any]) -> str:
    drops = [f"{gate['max_accuracy_drop']:g}"]
    drops += [f"{region}={drop:g}" for region, drop in (gate.get("max_accuracy_drops") or {}).items()]
    accuracies = [block.get("accuracy") or {} for block in gate["regions"].values()]
    columns = dict.fromkeys(
        row["column"] for one in accuracies for row in one.get("subgroups") or () if "column" in row
    )
    said = f" --margin {gate['margin']:g} --max-accuracy-drop {','.join(drops)} --seed {gate['seed']}"
    said += "".join(f" --subgroup {shlex.quote(column)}" for column in columns)
    return said + (" --strict-subgroups" if any(one.get("strict") for one in accuracies) else "")


def commands_for(one: Exported, run: Run) -> list[str]:
    """Return the commands that check, time and use one export."""
    path = f"runs/{run.id}/{one.path.relative_to(run.path).as_posix()}"
    allowed = " --allow-synthetic" if one.synthetic else ""
    return [
        f"sha256sum {path}/manifest.json",
        f"decompose verify {path}",
        f"decompose bench {path}",
        *([f"decompose predict {path} IMAGE{allowed}"] if one.owner == "expert" else []),
    ]


def _name(path: Path, run: Run) -> str:
    return run.id if path == run.path else path.relative_to(run.path).as_posix()
