"""Artifact directories: atomic writes, digests of every file, and the chain from parent to child.

A directory is complete if it has a `manifest.json`, which is written last and states the SHA-256 of each file, and its
own as `seal`; readers check all of them. Nothing is unpickled or evaluated, and no path may leave the directory:
artifacts are not trusted.
"""

from __future__ import annotations

import datetime
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import TypedDict  # pydantic asks for it below Python 3.12

from lorkit.decompose.artifacts.files import (
    SCHEMA_VERSION,
    SEAL,
    digest_file,
    digest_json,
    read_document,
    write_json,
)
from lorkit.decompose.artifacts.places import check_place
from lorkit.decompose.artifacts.weights import check_size, is_cut
from lorkit.decompose.errors import ArtifactError, BusyError
from lorkit.decompose.machine import fingerprint, tool_versions

MANIFEST = "manifest.json"
_LONGEST_NAME, _LONGEST_PATH = 255, 2048  # bytes; with the directory less than the 4096 of Linux
_OF_RUN = frozenset({"config.yaml", "regions.json", "splits.json", "model.safetensors", "metrics.jsonl", "foundation"})
_OF_NETWORK = frozenset({"config.yaml", "regions.json", "splits.json", "network.json", "source.onnx"})
# By kind, whether a name at the top of a directory is of the artifact. People keep notes in runs and reports; what is
# handed over as a network holds nothing that was not written with it.
_CLOSED: dict[str, Callable[[str], bool]] = {
    "run": _OF_RUN.__contains__,
    "network": _OF_NETWORK.__contains__,
    "expert": lambda name: name != "exports",
    "mixture": lambda name: name != "exports",
    "export": lambda name: True,
    "foundation": lambda name: True,
}


_Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class ParentLink(TypedDict):
    """The artifact that another one was made from; the path is relative to the child."""

    kind: str
    sha256: _Digest
    path: str


class Manifest(BaseModel):
    """Kind and origin of a directory, and the digest of each of its files."""

    model_config = ConfigDict(frozen=True, defer_build=True)

    path: Path
    digest: str
    kind: str
    created: str
    synthetic: bool
    inputs: str
    parent: ParentLink | None
    files: dict[str, _Digest]
    tools: dict[str, str | None]
    machine: dict[str, Any]
    extra: dict[str, Any]


def write_manifest(
    directory: Path,
    kind: str,
    *,
    synthetic: bool,
    parent: Manifest | None = None,
    inputs: str = "",
    extra: Mapping[str, Any] | None = None,
    outside: Sequence[str] = (),
) -> Manifest:
    """Digest each file of a directory and write its `manifest.json`.

    Args:
        directory: The directory, or its staging directory.
        kind: run, network, foundation, expert, export, report or comparison.
        synthetic: Whether any of its data was drawn by a program.
        parent: Of the artifact that it was made from, as it was opened: its files have to be the same still.
        inputs: Digest of everything that determines its content; equal inputs mean "up to date".
        extra: Further plain data.
        outside: Names at the top of the directory that are not part of it; later steps write there.

    Raises:
        BusyError: The parent was replaced since it was opened: what was read of it is not known.
        ArtifactError: A file of the parent has changed since.
    """
    files = {
        path.relative_to(directory).as_posix(): digest_file(path)
        for path in sorted(directory.rglob("*"))
        if path.is_file() and path.relative_to(directory).parts[0] not in {MANIFEST, *outside}
    }
    link = None
    if parent is not None:
        check_unchanged(parent)
        relative = os.path.relpath(parent.path.resolve(), directory.resolve())
        link = {"kind": parent.kind, "sha256": parent.digest, "path": relative}
    document: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "kind": kind,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="microseconds"),
        "synthetic": synthetic,
        "inputs": inputs,
        "parent": link,
        "files": files,
        "tools": tool_versions(),
        "machine": fingerprint(),
        "extra": dict(extra or {}),
    }
    write_json(directory / MANIFEST, document | {SEAL: digest_json(document)})
    return Manifest(path=directory, digest=digest_file(directory / MANIFEST), **document)


def read_manifest(directory: Path, *, kind: str | None = None, verify: bool = True) -> Manifest:
    """Read a directory's manifest and check each file that it names, and its place in a run.

    Raises:
        ArtifactError: No manifest, another kind, a manifest or file that is missing or changed, a file outside the
            directory, or an artifact in a run at the place of another region, owner or run.
    """
    if not (directory / MANIFEST).is_file():
        raise ArtifactError(
            f"{directory} has no {MANIFEST}",
            required=f"a complete {kind or 'artifact'} directory",
            fix="name another, or build it again",
        )
    document, digest = read_document(directory / MANIFEST, kind=kind)
    seal = document.pop(SEAL, None)
    try:
        changed = seal != digest_json(document)
        manifest = Manifest(path=directory, digest=digest, **document)
        for name in (*manifest.files, *([manifest.parent["path"]] if manifest.parent else [])):
            _check_name(name)
    except (TypeError, ValueError):
        raise ArtifactError(
            f"{directory / MANIFEST} lacks its fields", required="an intact manifest", fix="rebuild the artifact"
        ) from None
    if changed:
        raise ArtifactError(
            f"{directory / MANIFEST} was changed after it was written, or an earlier version wrote it",
            required="what its seal is the digest of",
            fix=f"restore it, or {_rebuild(manifest)}",
        )
    if verify:
        check_place(directory, document)
        check_files(manifest)
    return manifest


def _check_name(name: str) -> None:
    """Raise ValueError for a path that no file system holds: its use would be an error of the system, or a defect."""
    data = name.encode()
    if b"\0" in data or len(data) > _LONGEST_PATH or max(map(len, data.split(b"/"))) > _LONGEST_NAME:
        raise ValueError(name)


def is_artifact(path: Path) -> bool:
    """Tell whether a path is the directory of an artifact, intact or not."""
    return (path / MANIFEST).is_file()


def is_current(directory: Path, kind: str, inputs: str) -> bool:
    """Return whether a directory is complete and was made from the same inputs.

    Raises:
        ArtifactError: It was, but a file has changed since; damaged artifacts are not rebuilt silently.
    """
    if not (directory / MANIFEST).is_file():
        return False
    manifest = read_manifest(directory, kind=kind, verify=False)
    if manifest.inputs != inputs:
        return False
    check_files(manifest)
    return True


def verify_chain(directory: Path, *, kind: str | None = None) -> list[Manifest]:
    """Check a directory and all its ancestors that still exist.

    Returns:
        Their manifests, child first.

    Raises:
        ArtifactError: The directory is not of `kind`, or a file or a parent's manifest has changed.
    """
    chain = [read_manifest(directory, kind=kind)]
    while (link := chain[-1].parent) is not None:
        path = chain[-1].path / link["path"]
        if not (path / MANIFEST).is_file():
            break
        parent = read_manifest(path, verify=False)
        if parent.digest != link["sha256"]:
            raise ArtifactError(
                f"{path} is not the {link['kind']} that {chain[-1].path} was made from",
                required=f"a manifest with digest {link['sha256'][:12]}",
                fix=f"rebuild {chain[-1].path}",
            )
        check_files(parent)
        chain.append(parent)
    return chain


def check_unchanged(manifest: Manifest) -> None:
    """Check that an artifact is still what was opened.

    Raises:
        BusyError: Its manifest is another one or gone: another process replaced it.
        ArtifactError: A file differs from the manifest.
    """
    path = manifest.path / MANIFEST
    if not path.is_file() or digest_file(path) != manifest.digest:
        raise replaced(manifest)
    check_files(manifest)


def replaced(manifest: Manifest) -> BusyError:
    """Return the error for an artifact that another process replaced since it was opened."""
    return BusyError(
        f"{manifest.path} was replaced while it was read",
        required=f"the {manifest.kind} with digest {manifest.digest[:12]} until the end",
        fix="run the command again",
    )


def check_files(manifest: Manifest) -> None:
    """Check every file of an artifact against its manifest.

    Raises:
        ArtifactError: A file is missing, changed or outside the directory, or one that would be read is not listed.
    """
    root = manifest.path.resolve()
    if not manifest.files:
        raise ArtifactError(
            f"{manifest.path / MANIFEST} lists no file", required="a complete artifact", fix=_rebuild(manifest)
        )
    for name, digest in manifest.files.items():
        path = manifest.path / name
        if PurePosixPath(name).is_absolute() or not path.resolve().is_relative_to(root):
            raise ArtifactError(
                f"{manifest.path / MANIFEST} names '{name}', outside its directory",
                required="files of the artifact itself",
                fix="do not use this artifact",
            )
        if not path.is_file():
            raise ArtifactError(f"{path} is missing", required="a complete artifact", fix=_rebuild(manifest))
        check_size(path)
        if is_cut(path) or digest_file(path) != digest:
            fix = f"restore the file, or {_rebuild(manifest)}"
            raise ArtifactError(f"{path} has changed since it was written", required=f"SHA-256 {digest[:12]}", fix=fix)
    for name in _unlisted(manifest):
        raise ArtifactError(
            f"{manifest.path / name} is not listed in {MANIFEST}",
            required="only files that were written with the artifact",
            fix=f"remove it, or {_rebuild(manifest)}",
        )


def _unlisted(manifest: Manifest) -> Iterator[str]:
    """Yield the files beside those of a manifest that a reader, an engine or an example would take for its own.

    Hidden ones are locks and what file managers leave; nothing reads them.
    """
    closed = _CLOSED.get(manifest.kind)
    if closed is None:
        return
    for folder, folders, files in os.walk(manifest.path):
        inside = Path(folder).relative_to(manifest.path)
        folders[:] = sorted(name for name in folders if not name.startswith(".") and closed((inside / name).parts[0]))
        links = [name for name in folders if (Path(folder) / name).is_symlink()]
        for path in (inside / name for name in sorted([*files, *links]) if not name.startswith(".")):
            if path.as_posix() not in manifest.files and path.as_posix() != MANIFEST and closed(path.parts[0]):
                yield path.as_posix()


def _rebuild(manifest: Manifest) -> str:
    if manifest.kind in ("cell", "comparison"):  # neither has --force: missing ones are made
        return f"remove {manifest.path} and run `decompose compare` again"
    if manifest.kind == "mixture":
        verb = f"extract --{manifest.extra.get('region', 'router')}"
    elif manifest.kind == "network":
        verb = "export NETWORK.onnx"
    else:
        verb = {"run": "train", "foundation": "pretrain", "expert": "extract"}.get(manifest.kind, manifest.kind)
    return f"rebuild {manifest.path} with `decompose {verb} --force`"
