"""What is visible in a directory after a command was stopped: nothing wrong, nothing lost, nothing half-written."""

from __future__ import annotations

import hashlib
import json
import tarfile
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from lorkit.decompose.artifacts import MANIFEST, read_manifest
from lorkit.decompose.artifacts.keys import KEY_FILE
from lorkit.decompose.artifacts.manifest import check_files
from lorkit.decompose.errors import LorkitError

Inventory = dict[str, str]
"""The digest of each visible file, by its path."""


def inventory(work: Path) -> Inventory:
    """Digest each visible file; a name that begins with a dot is hidden, except the key of the patients."""
    return {
        path.relative_to(work).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(work.rglob("*"))
        if path.is_file() and (path.name == KEY_FILE or not _hidden(path, work))
    }


def left_over(work: Path) -> list[str]:
    """Return the hidden entries that no command needs."""
    found = [path for path in work.rglob(".*") if path.name != KEY_FILE and not _hidden(path.parent, work)]
    return sorted(path.relative_to(work).as_posix() for path in found)


@dataclass(frozen=True)
class Expected:
    """What a command leads to.

    Attributes:
        before: The files before it.
        after: The files after it, undisturbed.
        varying: Files whose bytes differ from one undisturbed command to the next: dates, durations, random draws.
        loose: Patterns of paths that may be there with any whole content.
    """

    before: Inventory
    after: Inventory
    varying: frozenset[str]
    loose: tuple[str, ...] = ()

    def problems(self, work: Path, *, finished: bool = False) -> list[str]:
        """Say what is wrong in a directory; `finished`: all has to be as after the command."""
        found = inventory(work)
        kept = self.after if finished else self.before.keys() & self.after.keys()
        problems = [f"lost: {name}" for name in kept if name not in found]
        for name, digest in found.items():
            problems += self._of_file(work, name, digest, finished)
        for manifest in work.rglob(MANIFEST):
            if not _hidden(manifest, work):
                try:
                    check_files(read_manifest(manifest.parent, verify=False))
                except LorkitError as error:
                    problems.append(f"half-written: {error}")
        return problems

    def _of_file(self, work: Path, name: str, digest: str, finished: bool) -> list[str]:
        known = [*([] if finished else [self.before.get(name)]), self.after.get(name)]
        if digest in known:
            return []
        if name not in self.varying and not any(fnmatch(name, one) for one in self.loose):
            return [f"wrong: {name}" if any(known) else f"unknown: {name}"]
        return [] if whole(work / name) else [f"half-written: {name}"]


def whole(path: Path) -> bool:
    """Tell whether a file ends as its kind does."""
    try:
        if path.suffix == ".json":
            return isinstance(json.loads(path.read_text(encoding="utf-8")), dict | list)
        if path.suffix == ".jsonl":
            return all(isinstance(json.loads(line), dict) for line in path.read_text(encoding="utf-8").splitlines())
        if path.suffix == ".tar":
            with tarfile.open(path) as archive:
                return bool(archive.getmembers())
    except (ValueError, OSError, tarfile.TarError):
        return False
    data = path.read_bytes().rstrip()
    ends = {".html": b"</html>", ".svg": b"</svg>", ".xml": b">"}
    return bool(data) and data.endswith(ends.get(path.suffix, b""))


def _hidden(path: Path, work: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(work).parts)
