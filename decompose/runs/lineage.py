"""Lineage: the run and the parents of an expert or an export, found by digest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from lorkit.decompose.artifacts import MANIFEST, Manifest, digest_file, read_json, read_manifest
from lorkit.decompose.artifacts.keys import DirectoryKey
from lorkit.decompose.artifacts.places import HOMES
from lorkit.decompose.data.keyed_digests import KeyedCases, key_of
from lorkit.decompose.errors import ArtifactError
from lorkit.decompose.runs import RUNS, Run, list_runs, open_run

if TYPE_CHECKING:
    from lorkit.decompose.runs.expert import LoadedExpert
    from lorkit.decompose.runs.mixture import LoadedMixture

SEEN_PARTS = ("train", "val")


def check_parent(expert: LoadedExpert | LoadedMixture, run: Run) -> None:
    """Raise ArtifactError unless a network was extracted from exactly this run."""
    link = expert.manifest.parent
    if link is None or link["sha256"] != run.manifest.digest:
        raise ArtifactError(
            f"{expert.path} was not extracted from run {run.path} as it is now",
            required="a network of this run",
            fix="run `decompose extract --force`",
        )


def find_parent(expert: LoadedExpert, root: Path = RUNS) -> Run | None:
    """Find the run of an expert by the digest of its manifest, in the enclosing directory or below `root`."""
    link = expert.manifest.parent
    if link is None:
        return None
    beside = expert.path / link["path"]
    for place in [beside] if (beside / "manifest.json").is_file() else list_runs(root):
        if read_manifest(place, verify=False).digest == link["sha256"]:
            return open_run(place)
    return None


def run_of_expert(expert: Path) -> Run | None:
    """Return the run that contains an expert, if the expert was extracted from its current state."""
    run, link = RunFinder().around(expert), read_manifest(expert, verify=False).parent
    return run if run is not None and link is not None and link["sha256"] == run.manifest.digest else None


@dataclass(frozen=True)
class Lineage:
    """A run and those that it was made from, the run first.

    Attributes:
        runs: Those that are found.
        complete: Whether the training data of all are known. A run with an added or removed region has the locked
            parts of the others; a fine-tuned one has only its own.
    """

    runs: tuple[Run, ...]
    complete: bool

    @cached_property
    def training_cases(self) -> KeyedCases:
        """The images that these runs were trained or tuned on, of all regions whose key is here."""
        found: dict[DirectoryKey, set[str]] = {}
        for key, _, known, parts in self._regions:
            if known:
                found.setdefault(key, set()).update(digest for part in SEEN_PARTS for digest in parts.get(part, ()))
        return KeyedCases(found)

    @cached_property
    def unreadable(self) -> tuple[str, ...]:
        """The regions whose cases are known by a key that is not in the directory of their run."""
        return tuple(dict.fromkeys(region for _, region, known, _ in self._regions if not known))

    @cached_property
    def _regions(self) -> list[tuple[DirectoryKey, str, bool, Mapping[str, list[str]]]]:
        """The key beside a run, a region of it, whether its cases are known by that key, and its parts."""
        found, keys = [], {run.path.parent: DirectoryKey(run.path.parent) for run in self.runs}
        for run in self.runs:
            document, key = read_json(run.path / "splits.json", kind="splits"), keys[run.path.parent]
            for region, parts in document["regions"].items():
                found.append((key, region, key_of(document, region) == key.name, parts))
        return found


class RunFinder:
    """Finds the runs of exports and their sources; opens each run once."""

    def __init__(self) -> None:
        self._opened: dict[Path | None, Run] = {}
        self._lineages: dict[Path, Lineage] = {}

    def open(self, selector: Path | str | None) -> Run:
        """Open a run by path or id, or the newest one, and check its files, unless it is open already."""
        place = None if selector is None else Path(selector).resolve()
        if place not in self._opened:
            run = open_run(selector)
            place = run.path.resolve()
            self._opened.setdefault(place, run)
        return self._opened[place]

    def around(self, path: Path) -> Run | None:
        """Return the run that contains a directory."""
        for directory in path.resolve().parents:
            if (directory / MANIFEST).is_file() and read_manifest(directory, verify=False).kind in HOMES:
                return self.open(directory)
        return None

    def of_export(self, manifest: Manifest) -> Run | None:
        """Return the run that contains an export, else the one below `runs/` that it was exported from, by digest."""
        if (run := self.around(manifest.path)) is not None:
            return run
        return None if manifest.parent is None else self.with_digest(manifest.parent["sha256"])

    def with_digest(self, digest: str, root: Path = RUNS) -> Run | None:
        """Find the run whose manifest, or that of its foundation or an expert, has a digest."""
        for path in list_runs(root):
            sources = [path / MANIFEST, path / "foundation" / MANIFEST, *path.glob(f"experts/*/{MANIFEST}")]
            if any(source.is_file() and digest_file(source) == digest for source in sources):
                return self.open(path)
        return None

    def lineage(self, run: Run) -> Lineage:
        """Return a run and those that it was made from."""
        place = run.path.resolve()
        if place not in self._lineages:
            self._lineages[place] = self._follow(run)
        return self._lineages[place]

    def _follow(self, run: Run) -> Lineage:
        if run.given is not None:  # what it was trained on is not known
            return Lineage((run,), complete=False)
        found = [run]
        while origin := found[-1].manifest.extra.get("origin"):
            before = self.with_digest(str(origin["sha256"]), found[-1].path.parent)
            if before is None:
                return Lineage(tuple(found), complete=origin.get("change") != "finetune")
            found.append(before)
        return Lineage(tuple(found), complete=True)
