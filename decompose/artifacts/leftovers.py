"""What killed processes left beside artifacts: found by name, repaired and removed under the lock of the artifact.

Of an artifact `x` these are hidden entries of the same directory:

    .x.partial-HOST-PID       a directory that was being built
    .x.old-PID                a whole artifact: the one that it replaces, or the one that was to replace it
    .x.training               the working directory of a training, of use until the training is finished
    .x.lock                   a lock that nobody holds
    .x.draft-HOST-PID-...     a file that was being written
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from lorkit.decompose.artifacts.drafts import host, is_abandoned
from lorkit.decompose.artifacts.locks import exclusive
from lorkit.decompose.errors import BusyError

DERIVED = ("experts", "exports", "measurements", "report")
"""Directories that later commands write into an artifact: they outlive its replacement."""
_MANIFEST = "manifest.json"
_HOMES = ("runs", "networks", "foundations", "comparisons")
_DEPTH = 4  # exports/foundation/<region>/<build> of a run
_HIDDEN = re.compile(r"\.(?P<name>.+)\.(?P<kind>partial-.*|old-\d+|training|lock)")


def sweep(parent: Path) -> None:
    """Repair and remove what killed processes of this host left in a directory, whatever they were building.

    What a living process writes is kept: its lock is held. So is everything where this process may not write, and what
    other programs named alike.
    """
    known = _is_ours(parent)
    for name in sorted({name for name, path in _found(parent) if _may_be_ours(path, parent / name, known=known)}):
        with suppress(BusyError, OSError), exclusive(parent / name):
            recover_interrupted(parent / name)
    for draft in _entries(parent):
        if is_abandoned(draft):
            with suppress(OSError):
                draft.unlink()


def abandoned(parent: Path) -> list[Path]:
    """Return what `sweep` removes from a directory: nothing that a living process writes or a later command needs.

    Locks that nobody holds are among it, and are gone when this returns: to ask is to take and leave them.
    """
    found = [path for path in _entries(parent) if is_abandoned(path)]
    for directory, left in _free(parent):
        lock, aside = left.name.endswith(".lock"), _is_artifact(left) and ".old-" in left.name
        if lock or (directory.exists() if aside else _is_unused(left, directory)):
            found.append(left)
    return sorted(found)


def interrupted_trainings(parent: Path) -> list[Path]:
    """Return the working directories of trainings that no process continues, and that `--resume` would."""
    return [
        left
        for directory, left in _free(parent)
        if left.name.endswith(".training") and not left.is_symlink() and not _is_finished(left, directory)
    ]


def _free(parent: Path) -> Iterator[tuple[Path, Path]]:
    """Yield artifacts that nobody writes with what may have been left of them."""
    known = _is_ours(parent)
    for name, left in list(_found(parent)):
        if _may_be_ours(left, parent / name, known=known):
            with suppress(BusyError, OSError), exclusive(parent / name):
                yield parent / name, left


def recover_interrupted(directory: Path) -> None:
    """Repair what a killed process left of one artifact; the caller holds its lock.

    An artifact that was moved aside comes back, and what later commands wrote into it goes over to its successor.
    """
    for name, left in _found(directory.parent):
        if name != directory.name:
            continue
        if _is_artifact(left) and ".old-" in left.name:
            _recover(left, directory)
        elif _is_unused(left, directory):
            shutil.rmtree(left, ignore_errors=True)


def discard(aside: Path, directory: Path) -> None:
    """Remove an artifact that was moved aside; from the first step on, it is never taken for a whole one."""
    partial = partial_of(directory)
    os.replace(aside, partial)
    shutil.rmtree(partial, ignore_errors=True)


def partial_of(directory: Path) -> Path:
    """Return where this process builds a directory."""
    return directory.parent / f".{directory.name}.partial-{host()}-{os.getpid()}"


def adopt(source: Path, target: Path) -> None:
    """Move what later commands wrote into an artifact to its successor, except what that has already."""
    for name in DERIVED:
        _merge(source / name, target / name)


def _merge(source: Path, target: Path) -> None:
    if not source.exists():
        return
    if not target.exists():
        os.replace(source, target)
    elif source.is_dir() and target.is_dir() and not (target / _MANIFEST).is_file():
        for child in sorted(source.iterdir()):
            if not child.name.startswith("."):
                _merge(child, target / child.name)


def _recover(aside: Path, directory: Path) -> None:
    if directory.exists():
        adopt(aside, directory)
        discard(aside, directory)
    else:
        os.replace(aside, directory)


def _found(parent: Path) -> Iterator[tuple[str, Path]]:
    """Yield the names of artifacts with what may have been left of them; drafts are told by their names alone."""
    for path in _entries(parent):
        if (found := _HIDDEN.fullmatch(path.name)) is not None:
            yield found["name"], path


def _entries(parent: Path) -> list[Path]:
    try:
        return sorted(path for path in parent.iterdir() if path.name.startswith("."))
    except OSError:
        return []


def _is_artifact(path: Path) -> bool:
    return (path / _MANIFEST).is_file()


def _is_ours(parent: Path) -> bool:
    """Tell whether a directory is one that only lorkit writes: of its artifacts, or in one of them."""
    above = list(parent.resolve().parents)[:_DEPTH]
    return parent.name in _HOMES or any(_is_artifact(path) for path in (parent, *above))


def _may_be_ours(left: Path, directory: Path, *, known: bool) -> bool:
    """Tell whether it is worth to lock an artifact for what was found beside it."""
    lock = left.with_name(f".{directory.name}.lock")
    # other locks, as those of stores of features, are no empty files and outlive their holders
    if lock.is_file() and lock.stat().st_size:
        return False
    if left == lock:
        return known or _is_artifact(directory)
    return left.is_dir() and (".partial-" not in left.name or _is_of_this_host(left))


def _is_of_this_host(partial: Path) -> bool:
    """Tell whether this host built a directory: some shared file systems do not share locks."""
    return f".partial-{host()}-" in partial.name


def _is_unused(left: Path, directory: Path) -> bool:
    """Tell whether what was left of an artifact, whose lock the caller holds, is of no use."""
    if left.is_symlink() or not left.is_dir():
        return False
    if left.name.endswith(".training"):
        return _is_finished(left, directory)
    return _is_of_this_host(left)


def _is_finished(training: Path, directory: Path) -> bool:
    """Tell whether an artifact was written after the last checkpoint of its training."""
    states = [path.stat().st_mtime_ns for path in training.rglob("*") if path.is_file()]
    return _is_artifact(directory) and max(states, default=0) <= (directory / _MANIFEST).stat().st_mtime_ns
