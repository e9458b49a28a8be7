"""The command `extract`: write the networks of single regions of a run, and those of all its regions, with checks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lorkit.decompose.artifacts import digest_json, is_current, staged_directory
from lorkit.decompose.documents.expert import ExpertInfo, Reduction
from lorkit.decompose.documents.heads import REGION_ID, ROUTER
from lorkit.decompose.errors import UsageError
from lorkit.decompose.events import Listener, Working, ignore
from lorkit.decompose.runs import RUNS, Run, open_run
from lorkit.decompose.runs.listing import EXPERT_INFO

if TYPE_CHECKING:
    from lorkit.decompose.extraction.expert_builder import ExpertBuilder
    from lorkit.decompose.extraction.mixture_builder import MixtureBuilder

# Increment when the same run would give another package, so that older ones are rebuilt.
_REVISION = 2


@dataclass(frozen=True, kw_only=True)
class ExtractResult:
    """One extracted network.

    Attributes:
        region: Its region, or `router` or `region-id` of one for all regions.
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
    region: str | None = None,
    router: bool = False,
    region_id: bool = False,
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
        region: Which regions; None is all, or none beside `router` and `region_id`.
        router: Write the network of all regions that needs no region, of a run with a router.
        region_id: Write the network of all regions for mixed batches that takes the region of each image.
        recalibrate: Re-estimate batch-norm statistics on the region's training split after merging.
        rank: Reduce the update of every layer to at most this rank, in units of `lorkd.rank` (see `reduce_`). The size
            of the network does not change; its accuracy before and after is measured on the validation split.
        force: Rebuild experts that are up to date.
        out: Directory for one directory per region; the run's `experts` by default.
        root: Directory of runs.
        on_event: Receives progress.

    Raises:
        UsageError: Unknown run or region, a rank for a run without low-rank experts, or a network that the method has
            not.
        DataError: The run's data is missing: equality is checked on images of the validation split.
        ParityError: The network differs from the live model, or has tensors of another region.
        ArtifactError: The run, or an existing expert, is damaged.
    """
    source = run if isinstance(run, Run) else open_run(run, root)
    forms = [form for form, wanted in ((ROUTER, router), (REGION_ID, region_id)) if wanted]
    if forms and (recalibrate or rank is not None):
        raise UsageError(
            f"{' and '.join(forms)} with a lower rank or other norms",
            required="the layers of the trained model",
            fix="leave --rank and --recalibrate out, or extract single regions with them",
        )
    names = () if forms and region is None else source.regions.select(region).names
    target = Path(out) if out is not None else source.experts_dir
    experts = _Experts(source, recalibrate, rank)
    mixtures = _Mixtures(source)
    results = []
    for index, name in enumerate((*names, *forms)):
        on_event(Working(f"expert of {name}" if name in names else name, index, len(names) + len(forms)))
        kind: _Experts | _Mixtures = experts if name in names else mixtures
        results.append(_extract_one(kind, name, target / name, force=force))
    on_event(Working("done", len(results), len(results)))
    return results


class _Experts:
    """Experts of single regions of one call."""

    kind = "expert"

    def __init__(self, run: Run, recalibrate: bool, rank: int | None) -> None:
        self.run, self.recalibrate, self.rank = run, recalibrate, rank
        self._builder: ExpertBuilder | None = None

    def inputs(self, region: str) -> str:
        """Return the digest of what determines an expert."""
        source = {"run": self.run.manifest.digest, "region": region, "recalibrate": self.recalibrate}
        cut = {} if self.rank is None else {"rank": self.rank}
        return digest_json({"revision": _REVISION, **source, **cut})

    def builder(self, region: str) -> ExpertBuilder:
        """Return the builder of all experts."""
        del region
        if self._builder is None:
            # torch takes seconds to import, and is not needed if all is up to date
            from lorkit.decompose.extraction.expert_builder import ExpertBuilder

            self._builder = ExpertBuilder(self.run, recalibrate=self.recalibrate, rank=self.rank)
        return self._builder

    def result(self, region: str, path: Path, up_to_date: bool) -> ExtractResult:
        """Describe a written expert."""
        info = ExpertInfo.read(path / EXPERT_INFO, fix="extract it again with --force")
        difference = info.equality.max_abs_difference
        return ExtractResult(
            region=region, path=path, up_to_date=up_to_date, max_difference=difference, reduction=info.reduction
        )


class _Mixtures:
    """Networks of several regions of one call."""

    kind = "mixture"

    def __init__(self, run: Run) -> None:
        self.run = run
        self._builder: MixtureBuilder | None = None

    def inputs(self, form: str) -> str:
        """Return the digest of what determines a network."""
        return digest_json({"revision": _REVISION, "run": self.run.manifest.digest, "form": form})

    def builder(self, form: str) -> MixtureBuilder:
        """Return the builder of all networks, after a check that the run has this one."""
        if self._builder is None:
            from lorkit.decompose.extraction.mixture_builder import MixtureBuilder

            self._builder = MixtureBuilder(self.run)
        self._builder.check(form)
        return self._builder

    def result(self, form: str, path: Path, up_to_date: bool) -> ExtractResult:
        """Describe a written network."""
        from lorkit.decompose.documents.mixture import MixtureInfo  # with the documents of evaluations

        info = MixtureInfo.read(path / EXPERT_INFO, fix="extract it again with --force")
        difference = max(one.max_abs_difference for one in info.equality_by_region.values())
        return ExtractResult(region=form, path=path, up_to_date=up_to_date, max_difference=difference)


def _extract_one(kind: _Experts | _Mixtures, name: str, directory: Path, *, force: bool) -> ExtractResult:
    inputs = kind.inputs(name)
    current = not force and is_current(directory, kind.kind, inputs)
    if not current:
        builder = kind.builder(name)  # refuses before anything is written
        with staged_directory(directory) as staging:
            builder.build(name, staging, inputs)
    return kind.result(name, directory, current)
