"""Provenance of a run that is made from another artifact, and the heads that it takes over."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from lorkit.decompose.artifacts import MANIFEST, Manifest, digest_file, read_json
from lorkit.decompose.artifacts.keys import KEY_FILE, DirectoryKey
from lorkit.decompose.data.keyed_digests import key_of
from lorkit.decompose.errors import ArtifactError
from lorkit.decompose.models.foundation.model import Foundation, load_foundation, on_same_backbone
from lorkit.decompose.regions import Region, RegionSet
from lorkit.decompose.runs import Run


def origin_record(manifest: Manifest, change: str, **more: str) -> dict[str, str]:
    """Return the `origin` of a manifest: the change, and the source by digest.

    Names of runs are not stored, since they may contain the name of a removed region.
    """
    return {"kind": manifest.kind, "sha256": manifest.digest, "change": change, **more}


def cases_of_other_keys(run: Run, regions: Sequence[str], out: Path) -> list[str]:
    """Return what the user should know of regions whose locked cases a new run in `out` cannot find by their digests.

    They are copied as they are: only their images, which a new run need not have, would give digests of another key.
    """
    document, key = read_json(run.path / "splits.json", kind="splits"), DirectoryKey(out)
    others = [name for name in regions if key_of(document, name) != key.name]
    if not others:
        return []
    return [
        f"the cases of {', '.join(others)} are known by another key than that of {out}: measure them with --data FILE, "
        f"or copy {KEY_FILE} of the directory that they are from"
    ]


def teaching_of(run: Run, regions: Sequence[str]) -> dict[str, Any]:
    """Return what a run's manifest says of the student's published weights, of teachers and images without labels.

    Regions that the new run does not take over are left out.
    """
    extra = run.manifest.extra
    found = {"student": extra["student"]} if "student" in extra else {}
    others = {name: extra["unlabelled"][name] for name in regions if name in extra.get("unlabelled", {})}
    rows = zip(extra.get("teachers", []), run.teachers(regions), strict=True)
    teachers = [{**stated, "val": row.val_scores, "share": row.share} for stated, row in rows]
    return found | ({"unlabelled": others} if others else {}) | ({"teachers": teachers} if teachers else {})


def with_heads(source: Foundation, regions: RegionSet, others: Iterable[Foundation] = ()) -> Foundation:
    """Return a foundation with the heads of `regions` only, each from the first foundation that has it.

    The backbone and provenance are those of `source`; `others` have the same backbone and heads of further regions.

    Raises:
        ArtifactError: None of them has a head of one of the regions.
    """
    heads, modules = {}, {}
    for name in regions.names:
        owner = next((one for one in (source, *others) if name in one.heads), None)
        if owner is None:
            raise ArtifactError(
                f"the foundation model of the run has no head for region '{name}'",
                required="a head, or a probe, for each of its regions",
                fix="train the run again with --force, which fits probes",
            )
        modules[name], heads[name] = owner.model.heads[name], owner.heads[name]
    with torch.random.fork_rng(devices=[]):
        model = on_same_backbone(source.model, regions, modules)
    return replace(source, model=model.eval(), regions=regions, heads=heads)


def with_known_head(run: Run, foundation: Foundation, region: Region) -> Foundation:
    """Return a run's foundation with its own head for one region, if it ever had one, else with none.

    A run stores the heads of its regions only. Others are read from the foundation's directory, if it still exists with
    the digest in the run.
    """
    headless = replace(foundation, heads={}, regions=RegionSet([]))
    for source in _sources(run, foundation):
        if source.heads.get(region.name) == "own" and source.regions.get(region.name).classes == region.classes:
            return with_heads(headless, RegionSet([region]), [source])
    return headless


def _sources(run: Run, foundation: Foundation) -> Iterator[Foundation]:
    yield foundation
    path = Path(str(run.config.foundation.weights))
    if (path / MANIFEST).is_file() and digest_file(path / MANIFEST) == foundation.source.get("manifest"):
        yield load_foundation(path)
