"""`measurements/gate.json` of a run: the newest verdict on each region.

A gate over some regions replaces their verdicts and keeps the others. A verdict on exports that have changed since is
stale and counts as inconclusive.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lorkit.decompose.artifacts import MANIFEST, digest_file, exclusive
from lorkit.decompose.documents.base import Verdict
from lorkit.decompose.documents.gate import GateDocument, GateRegion
from lorkit.decompose.documents.heads import MIXTURES
from lorkit.decompose.documents.measured import Subject
from lorkit.decompose.errors import ArtifactError, fit_for_artifact
from lorkit.decompose.runs import Run, exports_of
from lorkit.export.gating.limits import ANY, ByRegion, worst

NAME = "gate.json"
_WAIT_S = 30.0
"""Another gate on the run writes for milliseconds: waiting is better than losing a measured verdict."""


def read_verdicts(run: Run) -> GateDocument | None:
    """Return the record of a run, its stale verdicts marked; None if no gate has run.

    Raises:
        ArtifactError: The record is damaged.
    """
    path = run.measurements_dir / NAME
    if not path.is_file():
        return None
    document = GateDocument.read(path, fix="remove it")
    return _marked(run, document)


def store_verdicts(run: Run, document: GateDocument) -> None:
    """Merge a gate into the record of its run.

    Regions of other runs, and verdicts on an export against itself, say nothing about the run and are left out.

    Raises:
        BusyError: Other gates on the run write for longer than half a minute.
    """
    found = {name: block for name, block in document.regions.items() if _is_about(run, name, block)}
    if not found:
        return
    document = document.with_changes(regions=found, verdict=worst(block.verdict for block in found.values()))
    run.measurements_dir.mkdir(parents=True, exist_ok=True)
    path = run.measurements_dir / NAME
    with exclusive(path, wait_s=_WAIT_S):
        _merged(run, document, path).write(path, sealed=True)


def _is_about(run: Run, name: str, block: GateRegion) -> bool:
    same = block.baseline.digest is not None and block.baseline.digest == block.candidate.digest
    return name in _names(run) and not same


def _names(run: Run) -> tuple[str, ...]:
    """Return what a gate may judge: the regions, and the networks for all of them."""
    return (*run.regions.names, *MIXTURES)


def _merged(run: Run, document: GateDocument, path: Path) -> GateDocument:
    try:
        earlier = GateDocument.read(path, fix="remove it") if path.is_file() else None
    except ArtifactError as error:
        return document.with_changes(
            warnings=[*document.warnings, f"Earlier verdicts were replaced: {fit_for_artifact(error)}."]
        )
    if earlier is None:
        return document
    kept = {name: block for name, block in earlier.regions.items() if name not in document.regions}
    found = {name: (kept | document.regions)[name] for name in _names(run) if name in kept | document.regions}
    warnings = [text for text in earlier.warnings if text.startswith(tuple(f"region {name}:" for name in kept))]
    merged = document.with_changes(
        regions=found,
        **_limits(document, earlier, kept),
        synthetic=document.synthetic or (earlier.synthetic and bool(kept)),
        warnings=list(dict.fromkeys([*document.warnings, *warnings])),
    )
    return _marked(run, merged)


def _limits(document: GateDocument, earlier: GateDocument, kept: Mapping[str, GateRegion]) -> dict[str, Any]:
    """Return the limits of a gate with those under which the kept regions were judged."""

    def merged(new: ByRegion, old: Mapping[str, float | None]) -> dict[str, float]:
        own = {name: value for name, value in old.items() if value is not None and value != new.others}
        return {name: value for name, value in new.regions.items() if name not in old} | own

    drops = ByRegion(document.max_accuracy_drop, document.max_accuracy_drops)
    found: dict[str, Any] = {
        "max_accuracy_drops": merged(drops, {name: block.accuracy_test.allowed for name, block in kept.items()})
    }
    for key in ("min_accuracy", "min_recall"):
        new, old = (ByRegion.of(getattr(one, key)) for one in (document, earlier))
        others = {} if new.others is None else {ANY: new.others}
        found[key] = others | merged(new, {name: old.value(name) for name in kept})
    return found


def _marked(run: Run, document: GateDocument) -> GateDocument:
    """Mark stale verdicts, and give the worst of all as the verdict."""
    current = _current_digests(run, document.regions.values())
    regions = {
        name: block.with_changes(stale=not _digests(block) <= current) for name, block in document.regions.items()
    }
    return document.with_changes(regions=regions, verdict=worst(_counted(regions)))


def _counted(regions: Mapping[str, GateRegion]) -> list[Verdict]:
    return ["inconclusive" if block.stale else block.verdict for block in regions.values()]


def _digests(block: GateRegion) -> set[str]:
    return {side.digest for side in _subjects(block) if side.digest is not None}


def _current_digests(run: Run, blocks: Iterable[GateRegion]) -> set[str]:
    """Return the digests of the run's exports, and of the judged ones that lie elsewhere, such as in a store."""
    manifests = [entry.path / MANIFEST for entry in exports_of(run)]
    manifests += [Path(side.path) / MANIFEST for block in blocks for side in _subjects(block) if side.path is not None]
    return {digest_file(path) for path in dict.fromkeys(manifests) if path.is_file()}


def _subjects(block: GateRegion) -> list[Subject]:
    return [block.baseline, block.candidate, *(head.baseline for head in block.head_verdicts.values())]
