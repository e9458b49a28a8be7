"""What is left for another machine where a target cannot be built: the ONNX files, and the command to run there."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING

from lorkit import profiles
from lorkit.decompose.documents.export_results import ExportResult
from lorkit.decompose.errors import MissingRuntimeError
from lorkit.export.targets.base import MODEL, missing

if TYPE_CHECKING:
    from lorkit.export.building.job import ExportJob
    from lorkit.export.building.sources import ExportableNetwork


def command_elsewhere(source: ExportableNetwork, job: ExportJob, region: str | None = None) -> str:
    """Return the command that exports a source on another machine, where its run or expert was copied to.

    It has names and no paths of this machine, since exports are published. `region` may name several, or `all`.
    """
    what = [source.parent.path.resolve().name]
    if source.run is not None:
        what = ["--run", source.run.selector, "--region", region or source.region.name]
    given = job.profile.name if job.profile.name in profiles.available() else f"{job.profile.name}.yaml"
    options = ["--target", job.target.name, "--profile", given, "--precision", job.precision]
    return shlex.join(["decompose", "export", *what, *options])


def parent_elsewhere(source: ExportableNetwork) -> str:
    """Return in words what that command needs on the other machine."""
    if source.run is not None:
        return f"run '{source.run.id}' (in runs/)" if source.run.given is None else f"the directory {source.run.place}"
    return f"expert '{source.parent.path.resolve().name}'"


def missing_here(
    sources: Sequence[ExportableNetwork], results: Sequence[ExportResult], job: ExportJob, region: str | None
) -> MissingRuntimeError:
    """Return the error of a target that cannot be built here: why, what is left where, and the command elsewhere."""
    error = missing(job.target, job.profile)
    first = results[0].path
    left = [name for name in (MODEL, *job.target.leaves) if (first / name).is_file()]
    others = f" (and {len(results) - 1} more directories)" if len(results) > 1 else ""
    fix = f"{error.fix}; {' and '.join(left)} for it are in {first}{others}; build on the machine of profile "
    fix += f"{job.profile.name} with `{command_elsewhere(sources[0], job, region)}`"
    return MissingRuntimeError(error.given, required=error.required, fix=fix)
