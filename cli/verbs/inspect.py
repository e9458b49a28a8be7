"""`decompose inspect`: what lorkit reads in a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lorkit.cli import options

if TYPE_CHECKING:
    from lorkit.decompose.documents.inspect import InspectedArtifact, InspectedFile


def inspect(
    paths: Annotated[
        list[Path],
        typer.Argument(metavar="PATH...", help="Images, folders of images or slices, artifacts.", show_default=False),
    ],
    as_json: options.Json = False,
) -> int:
    """Show how lorkit reads images, and whether artifacts are intact.

    For each image: format, shape, range, mean, spacing, axes, patient key, and what was applied or ignored.
    """
    from lorkit.cli.errors import describe_error
    from lorkit.cli.output import tables
    from lorkit.cli.output.next_steps import after_inspection
    from lorkit.cli.output.progress import ProgressLine
    from lorkit.cli.output.streams import print_json, print_result, print_status
    from lorkit.decompose import inspect as look

    with ProgressLine("inspect", images=True) as progress:
        document, errors = look(paths, on_event=progress)
    tables.warnings(document.warnings)
    if as_json:
        print_json(document)
    else:
        for file in document.files:
            print_result(_image(file))
        for artifact in document.artifacts:
            print_result(_artifact(artifact))
    failures = [describe_error(error) for error in errors]
    for failure in failures:
        print_status(f"error: {failure.message}")
    if not failures:
        after_inspection(document)
    broken = any(one.problem or any(parent.holds is False for parent in one.parents) for one in document.artifacts)
    return failures[0].exit_code if failures else 4 if broken else 0


def _image(file: InspectedFile) -> str:
    facts = [
        f"{file.format} {' x '.join(map(str, file.shape))}",
        "range not finite"
        if file.min_value is None
        else f"{file.min_value:g} to {file.max_value:g}, mean {file.mean_value:g}",
        "spacing " + (" x ".join(f"{side:g}" for side in file.spacing_mm) + " mm" if file.spacing_mm else "not stated"),
        f"axes {file.axes or 'not stated'}",
        *([f"patient {file.group}"] if file.group else []),
        f"sha256 {file.sha256[:12]}",
    ]
    notes = "".join(f"\n  {note}" for note in file.notes)
    last = file.inverted and file.format.startswith("DICOM")  # a TIFF that stores white as zero is inverted already
    inverted = "\n  low values are bright: inverted last" if last else ""
    return f"{file.path}\n  {', '.join(facts)}{notes}{inverted}"


def _artifact(artifact: InspectedArtifact) -> str:
    head = f"{artifact.path}\n  {artifact.kind}" + (f" of region {artifact.region}" if artifact.region else "")
    lines = [f"{head}, {artifact.created[:19]}, manifest {artifact.sha256[:12]}{', synthetic' * artifact.synthetic}"]
    lines.append(f"  {artifact.file_count} files: {artifact.problem or 'all digests hold'}")
    states = {True: "holds", False: "has changed since", None: "is not there"}
    lines += [
        f"  made from {one.kind} {one.sha256[:12]} at {one.path}: {states[one.holds]}" for one in artifact.parents
    ]
    return "\n".join(lines)
