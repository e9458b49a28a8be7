"""One archive of a run: what evaluating, exporting and checking it needs, and nothing that stays at home.

The archive holds regular files below one directory, so `tar -xf RUN.tar -C runs` is all that unpacks it. It is the same
to the byte for the same run: owners are left out and times are those of the run.
"""

from __future__ import annotations

import datetime
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from lorkit.decompose.artifacts import digest_file
from lorkit.decompose.artifacts.drafts import open_draft
from lorkit.decompose.config import RegionConfig
from lorkit.decompose.documents.pack import LeftOut, PackDocument
from lorkit.decompose.errors import ArtifactError, UsageError
from lorkit.decompose.events import Listener, ignore, with_progress
from lorkit.decompose.runs.store import Run, open_run

LEFT_OUT = ("checkpoints", "exports/foundation")
"""Checkpoints continue a training; `decompose export` makes the exports of the foundation again from `foundation/`."""


def pack(
    run: str | Path | None = None, *, out: Path | None = None, force: bool = False, on_event: Listener = ignore
) -> PackDocument:
    """Write one archive of a run, without checkpoints, without the exports of its foundation, without hidden files.

    The key of the patients' hashes is a hidden file of the directory of runs, and in no archive.

    Args:
        run: Path or id; None is the newest.
        out: The archive; by default `<id>.tar` in the current directory.
        force: Replace an existing file.
        on_event: Receives progress.

    Raises:
        UsageError: No such run, or `out` exists.
        ArtifactError: A file of the run is damaged, or a link.
    """
    opened = open_run(run)
    archive = Path(f"{opened.id}.tar") if out is None else out
    if archive.exists() and (not force or archive.is_dir()):
        raise UsageError(f"{archive} exists", required="a new file", fix="choose another with --out, or use --force")
    if archive.resolve().is_relative_to(opened.path.resolve()):
        raise UsageError(f"{archive} is in the run", required="a file outside", fix="choose another with --out")
    names = list(_names(opened))
    left_out = {part: found for part in LEFT_OUT if (found := _size_of(opened.path / part)).file_count}
    archive.parent.mkdir(parents=True, exist_ok=True)
    with open_draft(archive) as stream:
        _write(opened, names, stream, on_event)
    return PackDocument(
        warnings=_named_places(opened),
        run=opened.id,
        archive=archive,
        sha256=digest_file(archive),
        size_bytes=archive.stat().st_size,
        file_count=len(names),
        left_out=left_out,
    )


def _named_places(run: Run) -> list[str]:
    """Warn that the settings in a run say where the data lie: their digest is that of the training, so they stay."""
    with_places = [name for name, one in run.config.regions.items() if any(map(os.path.isabs, _entries(one)))]
    if not with_places:
        return []
    return [f"config.yaml in the archive has the paths of the data of {', '.join(with_places)} on this machine"]


def _entries(region: RegionConfig) -> list[str]:
    parts = (region.data, region.train, region.val, region.test, region.unlabelled)
    return [text for texts in parts for text in texts or ()]


def _names(run: Run) -> Iterator[str]:
    """Yield the files to pack, relative to the run; hidden ones are locks, staging directories and keys."""
    for folder, folders, files in os.walk(run.path):
        inside = Path(folder).relative_to(run.path)
        folders[:] = sorted(
            name for name in folders if not name.startswith(".") and (inside / name).as_posix() not in LEFT_OUT
        )
        for name in sorted([*files, *(one for one in folders if (Path(folder) / one).is_symlink())]):
            path = Path(folder) / name
            if name.startswith("."):
                continue
            if path.is_symlink() or not path.is_file():
                raise ArtifactError(
                    f"{path} is a link or no file", required="regular files", fix="replace it by what it points to"
                )
            yield (inside / name).as_posix()


def _write(run: Run, names: list[str], stream: BinaryIO, on_event: Listener) -> None:
    made = int(datetime.datetime.fromisoformat(run.manifest.created).timestamp())
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name in with_progress(names, "packing", on_event):
            with (run.path / name).open("rb") as content:
                entry = tarfile.TarInfo(f"{run.id}/{name}")
                entry.size, entry.mtime, entry.mode = os.fstat(content.fileno()).st_size, made, 0o644
                archive.addfile(entry, content)


def _size_of(folder: Path) -> LeftOut:
    sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    return LeftOut(file_count=len(sizes), size_bytes=sum(sizes))
