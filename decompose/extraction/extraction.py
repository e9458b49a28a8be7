"""The command `extract`: write the plain networks of single regions of a run, with checks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lorkit.decompose.artifacts import digest_json, is_current, staged_directory
from lorkit.decompose.documents.expert import ExpertInfo, Reduction
from lorkit.decompose.events import Listener, Working, ignore
from lorkit.decompose.runs import RUNS, Run, open_run
from lorkit.decompose.runs.store import EXPERT_INFO

if TYPE_CHECKING:
    from lorkit.decompose.extraction.expert_builder import ExpertBuilder

# Increment when the same run would give another package, so that older ones are rebuilt.
_REVISION = 1


@dataclass(frozen=True, kw_only=True)
class ExtractResult:
    """One extracted expert.

    Attributes:
        region: Its region.
        path: Its directory.
        up_to_date: It existed already, from the same run and options.
        max_difference: Largest difference of a logit from the live model on validation images, before rank reduction.
        reduction: The reduction of rank, as in `expert.json`; None without.
    """

    region: str
    path: Path
    up_to_date: bool
    max_difference: float
    reduction: Reduction | None = None


def extract(
    run: Run | Path | str | None = None,
    *,
    region: str | None = "all",
    recalibrate: bool = False,
    rank: int | None = None,
    force: bool = False,
    out: Path | str | None = None,
    root: Path = RUNS,
    on_event: Listener = ignore,
) -> list[ExtractResult]:
    """Write the plain network of each region: original classes and keys, a torch program, a model card.

    Args:
        run: A run, its id or directory; None is the newest.
        region: Which regions.
        recalibrate: Re-estimate batch-norm statistics on the region's training split after merging.
        rank: Reduce the update of every layer to at most this rank, in units of `lorkd.rank` (see `reduce_`). The size
            of the network does not change; its accuracy before and after is measured on the validation split.
        force: Rebuild experts that are up to date.
        out: Directory for one directory per region; the run's `experts` by default.
        root: Directory of runs.
        on_event: Receives progress.

    Raises:
        UsageError: Unknown run or region, or a rank for a run without low-rank experts.
        DataError: The run's data is missing: equality is checked on images of the validation split.
        ParityError: The network differs from the live model, or has tensors of another region.
        ArtifactError: The run, or an existing expert, is damaged.
    """
    source = run if isinstance(run, Run) else open_run(run, root)
    names = source.regions.select(region).names
    target = Path(out) if out is not None else source.experts_dir
    builder: ExpertBuilder | None = None
    results = []
    for index, name in enumerate(names):
        on_event(Working(f"expert of {name}", index, len(names)))
        directory = target / name
        inputs = _inputs(source, name, recalibrate, rank)
        current = not force and is_current(directory, "expert", inputs)
        if not current:
            builder = builder or _new_builder(source, recalibrate, rank)
            with staged_directory(directory) as staging:
                builder.build(name, staging, inputs)
        info = ExpertInfo.read(directory / EXPERT_INFO, fix="extract it again with --force")
        difference = info.equality.max_abs_difference
        results.append(
            ExtractResult(
                region=name, path=directory, up_to_date=current, max_difference=difference, reduction=info.reduction
            )
        )
    on_event(Working("done", len(names), len(names)))
    return results


def _new_builder(run: Run, recalibrate: bool, rank: int | None) -> ExpertBuilder:
    # torch takes seconds to import, and is not needed if all is up to date
    from lorkit.decompose.extraction.expert_builder import ExpertBuilder

    return ExpertBuilder(run, recalibrate=recalibrate, rank=rank)


def _inputs(run: Run, region: str, recalibrate: bool, rank: int | None) -> str:
    source = {"run": run.manifest.digest, "region": region, "recalibrate": recalibrate}
    cut = {} if rank is None else {"rank": rank}
    return digest_json({"revision": _REVISION, **source, **cut})
