"""Change files of artifacts and seal them again, as somebody would who wants the change to be believed."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

MANIFEST = "manifest.json"
Edit = Callable[[dict[str, Any]], object]


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def edit_json(path: Path, edit: Edit) -> None:
    document = json.loads(path.read_text(encoding="utf-8"))
    edit(document)
    path.write_text(json.dumps(document), encoding="utf-8")


def reseal(directory: Path, edit: Edit = lambda manifest: None, *, parent: Path | None = None) -> None:
    """Write the digests of the files that are there, and of a parent's manifest, into a manifest."""

    def seal(manifest: dict[str, Any]) -> None:
        manifest["files"] = {name: digest(directory / name) for name in manifest["files"]}
        if parent is not None:
            manifest["parent"]["sha256"] = digest(parent / MANIFEST)
        edit(manifest)

    edit_json(directory / MANIFEST, seal)
    seal_manifest(directory)


def seal_manifest(directory: Path) -> None:
    """Compute the seal of a changed manifest again."""
    edit_json(directory / MANIFEST, lambda manifest: manifest.update(seal=_of_the_rest(manifest)))


def _of_the_rest(manifest: dict[str, Any]) -> str:
    rest = {name: value for name, value in manifest.items() if name != "seal"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def another_run(run: Path, target: Path) -> Path:
    """Copy a run with its experts and exports, as if the same data had been trained on once more."""
    shutil.copytree(run, target)
    reseal(target, lambda manifest: manifest["extra"].update(seed=1))
    of_run = digest(target / MANIFEST)
    for expert in (target / "experts").iterdir():
        edit_json(expert / "expert.json", lambda info: info["made_from"].update(run_manifest=of_run))
        reseal(expert, parent=target)
    for path in (target / "exports").rglob(MANIFEST):
        source = target.joinpath(path.parent, json.loads(path.read_text())["parent"]["path"]).resolve()
        edit_json(
            path.parent / "export.json",
            lambda info, at=source: info["made_from"].update(manifest=digest(at / MANIFEST)),
        )
        reseal(path.parent, lambda manifest: manifest["extra"].update(run=of_run), parent=source)
    return target
