"""Export networks to a target: one directory each, checked against its source, with a standalone example."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from lorkit.decompose.documents.export_results import ExportChoice, ExportDocument, ExportResult
from lorkit.decompose.documents.heads import MIXTURES
from lorkit.decompose.errors import UsageError
from lorkit.decompose.events import Listener, Working, ignore
from lorkit.decompose.machine import check_threads
from lorkit.decompose.runs import OWNERS, open_run
from lorkit.decompose.runs.store import missing_baseline
from lorkit.export.building.elsewhere import missing_here
from lorkit.export.building.exporter import Exporter
from lorkit.export.building.job import export_jobs, is_given
from lorkit.export.building.sources import ExportableNetwork, networks_at, networks_of_run
from lorkit.export.runtime.preference import AUTO
from lorkit.export.targets import TARGETS, Target
from lorkit.export.targets.base import NODES, SINGLE, NetworkForm

if TYPE_CHECKING:
    from lorkit.decompose.runs import Run
    from lorkit.export.building.choice import ChoiceLimits


def export(
    path: Path | str | None = None,
    *,
    run: Path | str | None = None,
    region: str | None = "all",
    target: str = "onnx",
    profile: str | None = None,
    precision: str | None = None,
    force: bool = False,
    allow_synthetic: bool = False,
    owners: Sequence[str] = OWNERS,
    out: Path | None = None,
    calibration: Path | str | None = None,
    recipe: Path | None = None,
    max_accuracy_drop: float = 0.02,
    max_seconds: float = 20.0,
    batch: Sequence[int] | None = None,
    threads: int | None = None,
    on_event: Listener = ignore,
) -> ExportDocument:
    """Export extracted experts, and the foundation model and student without experts for comparison.

    Args:
        path: A run or an expert directory; an expert outside of its run is exported into itself. Or the ONNX file of a
            network that lorkit did not train, or the directory that was made of it.
        run: A run by id or path without `path`; the newest by default.
        region: Names separated by commas, or "all".
        target: Name of a target; `auto` measures all that run here, in all precisions, and keeps the fastest that is
            not worse than the target `onnx` in fp32.
        profile: Hardware profile; the detected one by default, or the target's default if that is a CPU.
        precision: Precision of the graph; `auto` measures all precisions of target and profile on the experts, and uses
            a lower one if it is faster and not worse. Foundation and student are exported as their region's expert, and
            at fp32. Default: fp32, of target `auto` all.
        force: Rebuild exports that are up to date.
        allow_synthetic: Allow networks trained on drawn images for a serving target.
        owners: Which networks of a run.
        out: Directory instead of the run's or expert's `exports/`; of an ONNX file instead of `networks/<digest>/`.
        calibration: Of an ONNX file: labelled images of its region, as the `data` of a configuration.
        recipe: Of an ONNX file: a YAML file with what it does not say.
        max_accuracy_drop: Allowed drop of a lower precision under `auto`, a fraction.
        max_seconds: Time under `auto` for the latency of one candidate at one batch size.
        batch: Batch sizes under `auto`, the tuned one first; default: those of the profile.
        threads: Threads under `auto`, by default 1; 0: chosen by the runtimes.
        on_event: Receives progress.

    Returns:
        The exports that were built or up to date, experts first.

    Raises:
        UsageError: Unknown region, target, profile or precision, invalid limits, or no extracted expert.
        ArtifactError: A serving target and a network trained on drawn images, without `allow_synthetic`.
        ParityError: An engine does not reproduce its source's outputs; it is deleted.
        MissingRuntimeError: The target cannot be built here. The ONNX files for it, and of `trt` a `build.sh`, are
            exported, and the message names them. For `trt` or `torch-trt` and the profile of a CPU nothing is exported.
    """
    jobs = [replace(job, allow_synthetic=allow_synthetic) for job in export_jobs(target, profile, precision)]
    auto = None
    if AUTO in (target, precision):
        from lorkit.export.building.choice import AutoExport

        limits = _limits(max_accuracy_drop, max_seconds, jobs[0].batches if batch is None else batch, threads)
        auto = AutoExport(target=target, precision=precision or AUTO, jobs=jobs, limits=limits)
    elif (batch, threads) != (None, None):
        raise _unmeasured()
    if path is not None and is_given(Path(path)):
        run_of_file = _open_given(Path(path), recipe, calibration, region, out, on_event)
        sources, region = networks_of_run(run_of_file, None, owners, None), None
    else:
        sources = _sources(path, run, region, owners, out, of_given=(calibration, recipe))
    named = region is not None and any(name in MIXTURES for name in region.split(","))
    sources = _supported(sources, jobs[0].target, named=named, on_event=on_event)
    for reason in dict.fromkeys(missing_baseline(source.run) for source in sources):
        if reason is not None and "foundation" in owners:
            on_event(Working(reason, 0, len(sources)))
    exporter, results = Exporter(on_event, force=force), list[ExportResult]()
    chosen: dict[str, ExportChoice] = {}
    for done, source in enumerate(sources):
        name = f"{source.region.name} ({source.owner})"
        on_event(Working(name, done, len(sources)))
        taken = [job for job in jobs if _takes(job.target, source)]
        for stale in filter(None, (job.outdated(source.home / job.name) for job in taken)):
            on_event(Working(f"{name} is built again: {stale}", done, len(sources)))
        if auto is None:
            results.append(exporter.export(source, jobs[0]))
        else:
            results += exporter.automatic(source, replace(auto, jobs=taken), chosen)
        if source.graph is not None:  # the gate compares with it as it was given
            results += exporter.reference(source, profile, results)
    on_event(Working("exported", len(sources), len(sources)))
    if not jobs[0].target.available(jobs[0].profile).ok:
        raise missing_here(sources, results, jobs[0], region)
    return ExportDocument(exports=results)


def _unmeasured() -> UsageError:
    return UsageError(
        "--batch or --threads without auto",
        required=f"--target {AUTO} or --precision {AUTO}, which measure",
        fix="leave the option out; decompose bench measures other exports",
    )


def _open_given(
    path: Path,
    recipe: Path | None,
    calibration: Path | str | None,
    region: str | None,
    out: Path | None,
    on_event: Listener,
) -> Run:
    from lorkit.export.building.given import GivenSettings, open_given

    settings = GivenSettings(recipe=recipe, calibration=calibration, region=region, out=out)
    return open_given(path, settings, on_event)


def _sources(
    path: Path | str | None,
    run: Path | str | None,
    region: str | None,
    owners: Sequence[str],
    out: Path | None,
    *,
    of_given: tuple[Path | str | None, Path | None],
) -> list[ExportableNetwork]:
    """Return the networks of a run, an expert or the directory of a given network.

    Raises:
        UsageError: `of_given` has options that only an ONNX file takes.
    """
    if of_given != (None, None):
        raise UsageError(
            f"--calibration or --recipe for {path or run or 'a run'}",
            required="the ONNX file of a network that lorkit did not train",
            fix="leave them out: runs and given networks know both",
        )
    if path is not None:
        return networks_at(Path(path), region, owners, out)
    return networks_of_run(open_run(run), region, owners, out)


def _limits(max_accuracy_drop: float, max_seconds: float, batches: Sequence[int], threads: int | None) -> ChoiceLimits:
    from lorkit.export.building.choice import ChoiceLimits

    threads = 1 if threads is None else threads
    check_threads([threads])
    if not (0 <= max_accuracy_drop < 1 and 0 < max_seconds < float("inf")):
        raise UsageError(
            f"an accuracy drop of {max_accuracy_drop} and {max_seconds} s",
            required="a fraction (0.02 is two points) and a time above 0",
            fix="correct --max-accuracy-drop or --max-seconds",
        )
    if not batches or min(batches) < 1 or threads < 0:
        raise UsageError(
            f"batch sizes {', '.join(map(str, batches))} and {threads} threads",
            required="batch sizes from 1 and no negative number of threads",
            fix="correct --batch or --threads",
        )
    batches = tuple(dict.fromkeys(batches))
    return ChoiceLimits(max_accuracy_drop=max_accuracy_drop, seconds=max_seconds, batches=batches, threads=threads)


def _supported(
    sources: Sequence[ExportableNetwork], target: Target, *, named: bool, on_event: Listener
) -> list[ExportableNetwork]:
    """Return the networks that a target takes.

    Raises:
        UsageError: A network that was named is of a form that the target does not take.
    """
    refused = [source for source in sources if not _takes(target, source)]
    for source in refused:
        name, able = source.region.name, [name for name, one in TARGETS.items() if _takes(one, source)]
        given = f"target {target.name} takes one input and one output, and {name} has several"
        if source.graph is not None and target.built_from == "torch":
            given = f"target {target.name} is made from a PyTorch module, and {name} is an ONNX file"
        elif _form(source) == NODES:
            given = f"target {target.name} takes images, and {name} is of the nodes of a graph"
        elif SINGLE not in target.forms:
            given = f"target {target.name} takes networks of all regions by region id, and {name} is none"
        if named or len(refused) == len(sources):
            raise UsageError(
                given, required=f"one of {', '.join(able)}", fix="name it with --target, or export other networks"
            )
        on_event(Working(f"not exported: {given}", 0, len(sources)))
    return [source for source in sources if source not in refused]


def _takes(target: Target, source: ExportableNetwork) -> bool:
    return _form(source) in target.forms and (source.graph is None or target.built_from == "onnx")


def _form(source: ExportableNetwork) -> NetworkForm:
    if source.mixture is not None:
        return source.mixture.form
    return SINGLE if source.recipe.nodes is None else NODES
