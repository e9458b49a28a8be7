"""Lineage: the run and the parents of an expert or an export, found by digest."""

from __future__ import annotations

from pathlib import Path

from lorkit.decompose.artifacts import MANIFEST, Manifest, digest_file, read_json, read_manifest
from lorkit.decompose.errors import ArtifactError
from lorkit.decompose.runs import RUNS, Run, list_runs, open_run
from lorkit.decompose.runs.expert import LoadedExpert


def check_parent(expert: LoadedExpert, run: Run) -> None:
    """Raise ArtifactError unless the expert was extracted from exactly this run."""
    link = expert.manifest.parent
    if link is None or link["sha256"] != run.manifest.digest:
        raise ArtifactError(
            f"expert {expert.path} was not extracted from run {run.path} as it is now",
            required="an expert of this run",
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


def enclosing_run(path: Path) -> Run | None:
    """Return the run that contains a directory."""
    for directory in path.resolve().parents:
        if (directory / MANIFEST).is_file() and read_manifest(directory, verify=False).kind == "run":
            return open_run(directory)
    return None


def run_of_expert(expert: Path) -> Run | None:
    """Return the run that contains an expert, if the expert was extracted from its current state."""
    run, link = enclosing_run(expert), read_manifest(expert, verify=False).parent
    return run if run is not None and link is not None and link["sha256"] == run.manifest.digest else None


def run_of_export(manifest: Manifest) -> Run | None:
    """Return the run that contains an export, else the one below `runs/` that it was exported from, by digest."""
    if (run := enclosing_run(manifest.path)) is not None:
        return run
    return None if manifest.parent is None else run_with_digest(manifest.parent["sha256"])


def run_with_digest(digest: str, root: Path = RUNS) -> Run | None:
    """Find the run whose manifest, or that of its foundation or an expert, has a digest."""
    for path in list_runs(root):
        sources = [path / MANIFEST, path / "foundation" / MANIFEST, *path.glob(f"experts/*/{MANIFEST}")]
        if any(source.is_file() and digest_file(source) == digest for source in sources):
            return open_run(path)
    return None


SEEN_PARTS = ("train", "val")


def training_digests(run: Run | None) -> frozenset[str] | None:
    """Return the digests of all images that a run was trained or tuned on, of all regions; None without a run.

    They include those of the runs that it was made from, if these are found.
    """
    if run is None:
        return None
    documents = [read_json(one.path / "splits.json", kind="splits")["regions"] for one in ancestors(run)[0]]
    parts = [parts for regions in documents for parts in regions.values()]
    return frozenset(digest for one in parts for part in SEEN_PARTS for digest in one.get(part, ()))


def ancestors(run: Run) -> tuple[list[Run], bool]:
    """Return a run and those that it was made from, and whether all their training data are known.

    A run with an added or removed region has the locked parts of the others; a fine-tuned one has only its own.
    """
    found, whole = [run], True
    while origin := found[-1].manifest.extra.get("origin"):
        before = run_with_digest(str(origin["sha256"]), found[-1].path.parent)
        if before is None:
            whole = origin.get("change") != "finetune"
            break
        found.append(before)
    return found, whole
