"""Measure the accuracy of the experts, the student without experts or the foundation of a run."""

from __future__ import annotations

import datetime
from collections.abc import Collection, Mapping
from pathlib import Path

from torch import nn

from lorkit.decompose.artifacts.keys import DirectoryKey
from lorkit.decompose.data.keyed_digests import data_file
from lorkit.decompose.data.prepared import PreparedRegion
from lorkit.decompose.data.preprocessing.mirroring import check_flips
from lorkit.decompose.documents.base import Interval, combine
from lorkit.decompose.documents.evaluate import (
    EvaluateDocument,
    MultilabelEvaluation,
    NodeEvaluation,
    RegionEvaluation,
    SegmentationEvaluation,
)
from lorkit.decompose.documents.network import Decision
from lorkit.decompose.errors import UsageError, plural, unknown
from lorkit.decompose.evaluation.inference import WithMirrored, collect_score_inputs
from lorkit.decompose.evaluation.region_block import region_block
from lorkit.decompose.evaluation.run_model import RunModel, check_sources
from lorkit.decompose.evaluation.unknown_regions import (
    RunRouter,
    evaluate_outside,
    region_prediction,
    score_unknown,
)
from lorkit.decompose.events import Listener, Working, ignore
from lorkit.decompose.machine import fingerprint
from lorkit.decompose.metrics.rates import mean_of_independent
from lorkit.decompose.models.foundation.teacher import Teacher
from lorkit.decompose.runs import MODELS, RUNS, Run, open_run
from lorkit.decompose.runs.expert import LoadedExpert, load_expert
from lorkit.decompose.runs.extracted import is_expert, is_mixture
from lorkit.decompose.runs.keeping import kept
from lorkit.decompose.runs.lineage import find_parent, run_of_expert
from lorkit.decompose.runs.locked_data import RunSplits, check_part, prepare_file
from lorkit.decompose.runs.selection import require_region
from lorkit.decompose.tasks import get_task

_FEW_GROUPS = 5


def evaluate(
    path: Path | str | Run | None = None,
    *,
    model: str = "experts",
    split: str = "test",
    data: Path | str | None = None,
    region: str | None = None,
    root: Path = RUNS,
    run_splits: RunSplits | None = None,
    teacher: Teacher | None = None,
    outside: Path | str | None = None,
    flips: bool = False,
    on_event: Listener = ignore,
) -> EvaluateDocument:
    """Evaluate a model on a locked split of its run, or on all rows of a file.

    The experts of a run with a router are also measured without telling them the region.

    Args:
        path: A run (id or directory; None is the newest) or an expert directory, also a copied one.
        model: `experts` (extracted, else merged from the live model), `student` (without experts) or `foundation` (its
            own heads, else the probes fitted in training).
        split: "train", "val" or "test".
        data: A file or folder whose rows are used instead; classes are matched by name.
        region: Which regions; all by default.
        root: Directory of runs.
        run_splits: The run's data, if they were read already.
        teacher: The user's own foundation, which a run cannot store.
        outside: A file or folder of images of no region, which a router should not answer.
        flips: Average the logits of each image and its mirror image; routers are then not measured.
        on_event: Receives progress.

    Returns:
        The evaluation. If a run is known it is also stored in its measurements.

    Raises:
        UsageError: Unknown model, split, region or run; a file for several regions; no run for an expert alone; flips
            of a region where sides differ.
        DataError: The data is missing or does not fit.
        ArtifactError: Run, expert or foundation is damaged or was changed meanwhile, or the expert is of another run.
    """
    if model not in MODELS:
        raise unknown("model", model, MODELS)
    check_part(split)
    if isinstance(path, str | Path) and is_mixture(Path(path)):
        path = _run_around(Path(path))
    alone = isinstance(path, str | Path) and is_expert(Path(path))
    expert = load_expert(require_region(Path(str(path)), region)) if alone else None
    if expert is not None:
        run, region = _find_run(expert, model, region, data, root), expert.region.name
    else:
        run = path if isinstance(path, Run) else open_run(path, root)
    known = RunModel(run, model, teacher, run_splits or RunSplits(run, region)) if run is not None else None
    if expert is not None and data is not None:
        stated = None if run is None else run.config.regions.get(expert.region.name)
        prepared = prepare_file(data, expert.region, expert.recipe, stated=stated)
        samples: Mapping[str, PreparedRegion] = {expert.region.name: prepared}
    else:
        assert known is not None
        samples = _samples(known, split, data, region)
    blocks: dict[str, RegionEvaluation] = {}
    decisions: dict[str, Decision | None] = {}
    for name in samples if flips else ():
        check_flips(name, _sided(known, expert, name))
    for index, (name, prepared) in enumerate(samples.items()):
        on_event(Working(f"{model} on {name}", index, len(samples)))
        network, source, synthetic = _network(known, expert, name)
        network = WithMirrored(network) if flips else network
        decisions[name] = _decision(known, expert, name, network)
        inputs = collect_score_inputs(network, prepared)
        blocks[name] = region_block(prepared, inputs, decisions[name], source=source, synthetic=synthetic)
    on_event(Working("done", len(samples), len(samples)))
    router = known.router(on_event) if known is not None and expert is None and not flips else None
    notes = [f"region '{name}': {note}" for name, one in decisions.items() if one is not None for note in one.notes]
    document = _document(run, model, split, data, flips, blocks, [*notes, *(known.notes if known is not None else [])])
    if known is not None and router is not None:
        document = _with_predictions(document, router, samples, decisions, outside, known.splits.key)
    elif outside is not None:
        raise UsageError(
            "--outside without a router",
            required="the experts of a run of mola-router, without --flips",
            fix="leave --outside out",
        )
    check_sources(known, expert)
    return document if run is None else _stored(run, document, whole=set(blocks) == set(run.regions.names))


def _with_predictions(
    document: EvaluateDocument,
    router: RunRouter,
    samples: Mapping[str, PreparedRegion],
    decisions: Mapping[str, Decision | None],
    outside: Path | str | None,
    key: DirectoryKey,
) -> EvaluateDocument:
    """Add what a router answers without knowing the region."""
    found = score_unknown(router, samples)
    source, synthetic = router.source, document.synthetic
    blocks = {
        name: region_block(samples[name], scores.inputs, decisions[name], source=source, synthetic=synthetic)
        for name, scores in found.items()
    }
    strange = None if outside is None else evaluate_outside(router, Path(outside), samples, found, key)
    return combine(
        EvaluateDocument,
        document,
        predicted=blocks,
        region_prediction=region_prediction(router, samples, found),
        **({} if strange is None else {"outside": strange}),
    )


def _network(known: RunModel | None, expert: LoadedExpert | None, region: str) -> tuple[nn.Module, str, bool]:
    """Return the network of a region, its source, and whether it was trained on phantoms."""
    if expert is not None:
        return expert.network, "extracted", expert.info.synthetic
    assert known is not None
    return *known.network(region), known.run.synthetic


def _decision(known: RunModel | None, expert: LoadedExpert | None, region: str, network: nn.Module) -> Decision | None:
    return expert.info.decision if expert is not None else known.decision(region, network) if known else None


def _sided(known: RunModel | None, expert: LoadedExpert | None, region: str) -> bool | None:
    return expert.info.sided if expert is not None else known.sided(region) if known is not None else None


def _run_around(path: Path) -> Run:
    """Return the run that a network of several regions lies in, whose experts are then measured too."""
    run = run_of_expert(path)
    if run is None:
        raise UsageError(
            f"{path}, a network of several regions outside of its run",
            required="its run, with the locked split of every region",
            fix="name the run",
        )
    return run


def _find_run(expert: LoadedExpert, model: str, region: str | None, data: object, root: Path) -> Run | None:
    """Check the options for an expert alone and find its run."""
    name = expert.region.name
    if model != "experts":
        raise UsageError(f"--model {model} with an expert", required="--model experts", fix="name its run instead")
    if region not in (None, "", "all", name):
        raise UsageError(f"--region {region} with the expert of '{name}'", required=f"'{name}'", fix="leave it out")
    run = find_parent(expert, root)
    if run is None and data is None:
        raise UsageError(
            f"expert {expert.path} without its run",
            required="the run with its locked split, or a file",
            fix="name a file with --data",
        )
    return run


def _samples(known: RunModel, split: str, data: Path | str | None, region: str | None) -> Mapping[str, PreparedRegion]:
    if data is None:
        return {name: known.splits.part(name, split, recipe=known.recipe(name)) for name in known.splits.names}
    chosen = known.run.regions.select(region)
    if len(chosen) != 1:
        raise UsageError(
            f"--data for {len(chosen)} regions ({', '.join(chosen.names)})",
            required="one region",
            fix="name it with --region",
        )
    only = chosen[0]
    stated, runs = known.run.config.regions[only.name], known.run.path.parent
    return {only.name: prepare_file(data, only, known.recipe(only.name), runs, stated=stated)}


def _document(
    run: Run | None,
    model: str,
    split: str,
    data: Path | str | None,
    flips: bool,
    blocks: dict[str, RegionEvaluation],
    notes: list[str],
) -> EvaluateDocument:
    names = dict.fromkeys(name for block in blocks.values() for name in get_task(block.task).metrics)
    means = {name: _mean(name, blocks.values()) for name in names}
    key = DirectoryKey(RUNS if run is None else run.path.parent)
    return EvaluateDocument.model_validate(
        {
            "warnings": [*_warnings(blocks), *notes],
            "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "machine": fingerprint(),
            "run": run.id if run else None,
            "run_digest": run.manifest.digest if run else None,
            "model": model,
            "split": split if data is None else "data",
            "flips": flips,
            "data": data_file(Path(data), key) if data is not None else None,
            "synthetic": any(block.synthetic for block in blocks.values()),
            "regions": blocks,
            "means": {name: value for name, (value, _) in means.items()},
            "mean_ci": {name: ci for name, (_, ci) in means.items()},
        }
    )


def _warnings(blocks: Mapping[str, RegionEvaluation]) -> list[str]:
    warnings = []
    for name, block in blocks.items():
        if (absent := block.undefined) and isinstance(block, MultilabelEvaluation):
            warnings.append(
                f"region '{name}' has no positive or no negative case of {', '.join(absent)}: the means leave them out"
            )
        elif absent:
            warnings.append(f"region '{name}' has no case of {', '.join(absent)}: its macro metrics are undefined")
        if isinstance(block, SegmentationEvaluation) and block.groups < _FEW_GROUPS:
            warnings.append(
                f"region '{name}' is measured on {plural(block.groups, 'group')}: its interval is not reliable"
            )
        for row in block.recall_at if isinstance(block, NodeEvaluation) else ():
            if row.at > block.n:
                warnings.append(f"region '{name}' has {block.n} nodes: recall_at {row.at} looks at all of them")
        if block.source == "probe":
            warnings.append(f"region '{name}' is measured with a linear probe: the foundation has no head for it")
    return warnings


def _mean(metric: str, blocks: Collection[RegionEvaluation]) -> tuple[float | None, Interval | None]:
    """Return the mean over regions and its interval; regions have different patients, so errors are independent.

    Distances of several units have no mean.
    """
    if metric == "hd95" and len({block.unit for block in blocks if isinstance(block, SegmentationEvaluation)}) > 1:
        return None, None
    found = [(block.value(metric), block.ci.get(metric)) for block in blocks]
    defined = [(value, ci) for value, ci in found if value is not None and ci is not None]
    values = [value for value, _ in found if value is not None]
    if len(values) < len(found):
        return None, None
    if len(defined) < len(found):
        return sum(values) / len(values), None
    return mean_of_independent([value for value, _ in defined], [ci for _, ci in defined])


def _stored(run: Run, document: EvaluateDocument, *, whole: bool) -> EvaluateDocument:
    """Store the evaluation in the run; a selection of regions never replaces an evaluation of all."""
    parts = ["evaluate", document.model, document.split]
    parts += ["flips"] if document.flips else []
    parts += [(document.data.digest or "folder")[:8]] if document.data else []
    parts += [] if whole else list(document.regions)
    path = run.measurements_dir / f"{'-'.join(parts)}.json"
    lost = kept(run, lambda: document.write(path, sealed=True), "The evaluation")
    return document.with_changes(warnings=[*document.warnings, *lost])
