"""What finished runs do not need: checkpoints, cached features, and what killed processes left."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from lorkit.decompose.artifacts import exclusive, read_manifest, sweep
from lorkit.decompose.artifacts.leftovers import abandoned, interrupted_trainings
from lorkit.decompose.artifacts.manifest import is_artifact
from lorkit.decompose.documents.clean import CleanDocument, Unneeded
from lorkit.decompose.errors import ArtifactError, BusyError, UsageError
from lorkit.decompose.runs import RUNS
from lorkit.decompose.runs.leftovers import folders_of

_CHECKPOINTS = "checkpoints"
_BESIDE = ("foundations", "foundations/volumes", "comparisons", "comparisons/*", "comparisons/*/*")
Kind = Literal["checkpoints", "features", "left over", "interrupted"]


def clean(out: Path | str = RUNS, *, yes: bool = False, interrupted: bool = False) -> CleanDocument:
    """List what no finished artifact needs, and remove it if asked to.

    Nothing that a manifest lists, and nothing whose lock another process holds.

    Args:
        out: The directory of runs. What lies beside it (`foundations`, `comparisons`) belongs to it.
        yes: Remove it.
        interrupted: Also interrupted trainings, which `--resume` would continue.

    Raises:
        UsageError: There is no such directory.
        OSError: Something cannot be removed.
    """
    root = Path(out)
    if not root.is_dir():
        raise UsageError(f"no directory of runs at {root}", required="a directory that `train` made", fix="use --out")
    entries = [*_leftovers(root, yes), *_interrupted(root, yes, also=interrupted)]
    entries += [*_checkpoints(root, yes), *_features(root.parent / "foundations" / "features", yes)]
    counted = sum(one.size_bytes for one in entries if one.state in ("listed", "removed"))
    return CleanDocument(warnings=[], entries=entries, size_bytes=counted)


def _leftovers(root: Path, yes: bool) -> Iterator[Unneeded]:
    for folder in _folders(root):
        sizes = {path: _size(path) for path in _hidden(folder)}
        found = abandoned(folder)
        if yes:
            sweep(folder)
        for path in found:
            removed = not path.exists() and (yes or path.name.endswith(".lock"))
            yield _entry(path, "left over", sizes.get(path, 0), "removed" if removed else "listed")


def _interrupted(root: Path, yes: bool, *, also: bool) -> Iterator[Unneeded]:
    for folder in _folders(root):
        for path in interrupted_trainings(folder):
            size = _size(path)
            goal = folder / path.name.removeprefix(".").removesuffix(".training")
            state = _removed(goal, path, yes) if also else "kept"
            yield _entry(path, "interrupted", size, state)


def _checkpoints(root: Path, yes: bool) -> Iterator[Unneeded]:
    for run in _runs(root):
        path = run / _CHECKPOINTS
        if path.is_dir() and not path.is_symlink():
            size = _size(path)
            yield _entry(path, "checkpoints", size, _removed(run, path, yes))


def _features(root: Path, yes: bool) -> Iterator[Unneeded]:
    if not root.is_dir():
        return
    from lorkit.decompose.training.feature_cache.budget import remove_space, sizes_of  # imports torch

    for name, size in sizes_of(root).items():
        free = remove_space(root / name, really=yes)
        yield _entry(root / name, "features", size, ("removed" if yes else "listed") if free else "in use")


def _removed(artifact: Path, path: Path, yes: bool) -> Literal["listed", "removed", "in use"]:
    """Remove a directory of an artifact under the artifact's lock, if `yes`; return its state."""
    try:
        with exclusive(artifact):
            if not yes:
                return "listed"
            shutil.rmtree(path)
            return "removed"
    except BusyError:
        return "in use"
    except OSError:
        if yes:
            raise
        return "listed"  # a lock needs a place that may be written


def _runs(root: Path) -> Iterator[Path]:
    """Yield the finished runs whose manifest does not list their checkpoints."""
    for path in sorted(root.iterdir()):
        if path.name.startswith(".") or not is_artifact(path):
            continue
        try:
            manifest = read_manifest(path, verify=False)
        except ArtifactError:  # of unknown state: nothing is touched
            continue
        if manifest.kind == "run" and not any(name.startswith(f"{_CHECKPOINTS}/") for name in manifest.files):
            yield path


def _folders(root: Path) -> Iterator[Path]:
    """Yield the directories in which killed processes may have left something."""
    yield root
    for run in _runs(root):
        yield from folders_of(run)
    for pattern in _BESIDE:
        yield from (path for path in sorted(root.parent.glob(pattern)) if path.is_dir() and not _in_hidden(path, root))


def _in_hidden(path: Path, root: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(root.parent).parts)


def _hidden(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.name.startswith(".")]


def _size(path: Path) -> int:
    """Return the bytes of a file, or of the files below a directory."""
    if not path.is_dir() or path.is_symlink():
        return path.lstat().st_size
    return sum(one.lstat().st_size for one in path.rglob("*") if one.is_file())


def _entry(path: Path, kind: Kind, size: int, state: Literal["listed", "removed", "in use", "kept"]) -> Unneeded:
    return Unneeded(path=path, kind=kind, size_bytes=size, state=state)
