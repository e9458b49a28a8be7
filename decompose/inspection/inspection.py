"""Look at files and artifacts without using them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lorkit.decompose.artifacts import Manifest, read_manifest
from lorkit.decompose.artifacts.manifest import is_artifact
from lorkit.decompose.data.formats.listing import images_of, unreadable
from lorkit.decompose.data.formats.registry import open_image
from lorkit.decompose.data.samples.pseudonyms import Pseudonyms
from lorkit.decompose.documents.inspect import InspectDocument, InspectedArtifact, InspectedFile, InspectedParent
from lorkit.decompose.errors import DataError, LorkitError, MissingDataError, UsageError
from lorkit.decompose.events import Listener, ignore, with_progress


class Inspection(NamedTuple):
    """What was found, and one error for each input that cannot be read."""

    document: InspectDocument
    errors: tuple[LorkitError, ...]


def inspect(paths: Sequence[Path | str], *, on_event: Listener = ignore) -> Inspection:
    """Read images and artifacts as every other command does, and tell what was found.

    A directory with a manifest is an artifact, a folder of DICOM slices of one series is one image, any other folder
    stands for its files. `open_image` returns the values themselves.

    Args:
        paths: Files and directories.
        on_event: Receives progress.

    Raises:
        UsageError: No path.
    """
    if not paths:
        raise UsageError("no path", required="a file or directory", fix="name one")
    inputs: list[Path] = []
    errors: list[LorkitError] = []
    for path in map(Path, paths):
        try:
            inputs += _inputs(path)
        except LorkitError as error:
            errors.append(error)
    pseudonyms = Pseudonyms()
    files, artifacts = [], []
    for path in with_progress(inputs, "reading", on_event):
        try:
            if is_artifact(path):
                artifacts.append(inspect_artifact(path))
            else:
                files.append(inspect_image(path, pseudonyms))
        except LorkitError as error:
            errors.append(error)
    document = InspectDocument(
        warnings=list(pseudonyms.warnings) if any(file.group for file in files) else [],
        files=files,
        artifacts=artifacts,
    )
    return Inspection(document if artifacts else document.without("artifacts"), tuple(errors))


def _inputs(path: Path) -> list[Path]:
    """Return the images and artifacts that a path stands for."""
    try:
        if not path.exists():
            raise MissingDataError(f"no file at {path}", required="a file or directory", fix="check the path")
        if is_artifact(path):
            return [path]
        within = sorted(child for child in path.iterdir() if is_artifact(child)) if path.is_dir() else []
    except OSError as error:
        raise unreadable(path, error) from None
    found = [one for one in images_of(path) if not any(one.is_relative_to(artifact) for artifact in within)]
    if not found and not within:
        raise DataError(f"no image in {path}", required="a folder that holds images", fix="name another")
    return [*within, *found]


def inspect_image(path: Path, pseudonyms: Pseudonyms) -> InspectedFile:
    """Read one image, a file or a folder of slices.

    Raises:
        DataError: It cannot be read.
    """
    image = open_image(path)
    values = image.float32
    low, high, mean = _statistics(values)
    return InspectedFile(
        path=str(path),
        format=image.format,
        shape=list(values.shape),
        min_value=low,
        max_value=high,
        mean_value=mean,
        sha256=image.sha256,
        spacing_mm=None if image.spacing_mm is None else list(image.spacing_mm),
        axes=image.axes,
        inverted=image.inverted or image.was_inverted,
        group=None if image.group is None else pseudonyms.pseudonym(image.group),
        notes=[*image.notes, *image.warnings, *(() if low is not None else ("NaN or infinite values",))],
    )


def _statistics(values: NDArray[np.float32]) -> tuple[float | None, float | None, float | None]:
    """Return the smallest, largest and mean value in float64; None where one is not finite."""
    low, high, mean = float(values.min()), float(values.max()), float(values.mean(dtype=np.float64))
    return (low, high, mean) if np.isfinite([low, high, mean]).all() else (None, None, None)


def inspect_artifact(path: Path) -> InspectedArtifact:
    """Check every digest of an artifact, and whether its parents are still those it was made from.

    Raises:
        ArtifactError: Its manifest cannot be read.
    """
    manifest = read_manifest(path, verify=False)
    region = manifest.extra.get("region")
    return InspectedArtifact(
        path=str(path),
        kind=manifest.kind,
        created=manifest.created,
        synthetic=manifest.synthetic,
        sha256=manifest.digest,
        region=region if isinstance(region, str) else None,
        parents=_parents(manifest),
        file_count=len(manifest.files),
        problem=_problem(manifest),
    )


def _problem(manifest: Manifest) -> str | None:
    try:
        read_manifest(manifest.path)
    except LorkitError as error:
        return error.given
    return None


def _parents(manifest: Manifest) -> list[InspectedParent]:
    found: list[InspectedParent] = []
    while manifest.parent is not None:
        path = Path(os.path.normpath(manifest.path / manifest.parent["path"]))
        there = is_artifact(path)
        parent = read_manifest(path, verify=False) if there else None
        same = parent is not None and parent.digest == manifest.parent["sha256"]
        holds = None if parent is None else same and _problem(parent) is None
        found.append(
            InspectedParent(path=str(path), kind=manifest.parent["kind"], sha256=manifest.parent["sha256"], holds=holds)
        )
        if parent is None or not same:  # the parents of another artifact say nothing; a path may lead in a circle
            break
        manifest = parent
    return found
