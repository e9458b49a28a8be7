"""Non-inferiority of a candidate's accuracy: both engines on the same cases, resampled by patient.

The metric is balanced accuracy for a classifier and mean Dice for segmentation, whose maps are reduced to the Dice of
each case and structure batch by batch to save memory.

A point estimate of the drop would pass a bad candidate with few cases, so the interval decides: PASS needs its upper
end below the allowed drop, FAIL its lower end above; otherwise there are too few cases. Structures and subgroups are
judged too (`multiplicity`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lorkit.decompose.artifacts.arrays import Float32Array
from lorkit.decompose.data.samples.columns import subgroups
from lorkit.decompose.documents.gate import Accuracy, CaseSet, ChangedAnswer, JudgedAccuracy, Subset
from lorkit.decompose.errors import DataError, plural
from lorkit.decompose.metrics import PairedDrop, paired_drop
from lorkit.decompose.metrics.intervals import DropUncertainty
from lorkit.decompose.metrics.paired import paired_means
from lorkit.decompose.tasks import ScoreInputs, get_task
from lorkit.export.noninferiority import changed_answers
from lorkit.export.noninferiority.cases import EvaluationCases
from lorkit.export.noninferiority.multiplicity import adjust_judged
from lorkit.export.runtime.batch_size import fitting
from lorkit.export.runtime.exported import Exported, ExportPair

if TYPE_CHECKING:
    from lorkit.decompose.data.prepared import PreparedRegion
    from lorkit.export.targets.base import Engine

BATCH = 64
_Engines = tuple["Engine", "Engine"]
_Prepared = tuple["PreparedRegion", "PreparedRegion"]
_Rows = list[int] | slice
_ALL = slice(None)
_Absent = Callable[[_Rows], list[str]]
_Compare = Callable[[_Rows], PairedDrop | None]


@dataclass(frozen=True, kw_only=True)
class AccuracyTest:
    """Settings of the accuracy test.

    Attributes:
        allowed: Largest acceptable drop of the task's headline metric, a fraction.
        seed: Seed of the bootstrap.
        columns: Columns of the cases whose values are subgroups.
        strict: PASS needs every structure and subgroup shown to be within the allowed drop.
        pictures: Show small images of the cases that changed; those of drawn phantoms are always shown.
    """

    allowed: float
    seed: int = 0
    columns: tuple[str, ...] = ()
    strict: bool = False
    pictures: bool = False


@dataclass(frozen=True)
class _AccuracyEvidence:
    """The answers of two networks: a comparison of any of the cases, by structure too, and the changed answers.

    `absent` returns the classes or structures that are in none of some cases, whose loss cannot be seen.
    """

    compare: _Compare
    absent: _Absent
    structures: Mapping[str, _Compare]
    changed: list[ChangedAnswer]
    rate: dict[str, float | None]


def engine_logits(engine: Engine, prepared: PreparedRegion) -> Float32Array:
    """Run every case through an engine: (N, C, *spatial) in, (N, classes) out."""
    images = prepared.images
    parts = [engine.run(np.ascontiguousarray(images[at : at + BATCH])) for at in range(0, len(images), BATCH)]
    return np.concatenate(parts)


def judge_accuracy(
    pair: ExportPair, engines: tuple[Engine, Engine], cases: EvaluationCases, test: AccuracyTest
) -> JudgedAccuracy:
    """Compare two engines on the same cases.

    Args:
        pair: Baseline and candidate.
        engines: Their engines, in this order.
        cases: The cases.
        test: Settings of the test.

    Returns:
        The gate's `accuracy` block, with its verdict before correction for other regions.

    Raises:
        UsageError: The cases have no such column.
        DataError: There is no case, or an engine's output is not finite.
    """
    baseline, candidate, about = cases.prepare(pair)
    prepared = (baseline, candidate)
    parts = [(name, subgroups(baseline.columns, name, cases.source)) for name in dict.fromkeys(test.columns)]
    collect = _compare_masks if get_task(pair.candidate.region.task).dense else _compare_labels
    evidence = collect(pair, engines, prepared, test)
    found = evidence.compare(_ALL)
    if found is None:
        raise DataError(
            f"{plural(len(baseline), 'case')} without any structure in {cases.source}",
            required="at least one case that shows a structure",
            fix="add such cases",
        )
    shown = test.pictures or baseline.region.synthetic
    changed = changed_answers.with_pictures(evidence.changed, candidate) if shown else evidence.changed
    block = judged_drop(found, test, metric=headline_metric(pair.candidate), case_set=about, source=cases.source)
    block = block.with_changes(
        absent=evidence.absent(_ALL),
        structures=[_subset(name, compare, _ALL, test.allowed) for name, compare in evidence.structures.items()],
        subgroups=[
            _subset(value, evidence.compare, rows, test.allowed).with_changes(
                column=column, absent=evidence.absent(rows)
            )
            for column, values in parts
            for value, rows in values.items()
        ],
        changes=changed_answers.counts(changed),
        flips=changed,
        **evidence.rate,
    )
    return adjust_judged([block])[0]


def judged_drop(
    found: PairedDrop, test: AccuracyTest, *, metric: str, case_set: CaseSet, source: str
) -> JudgedAccuracy:
    """Return the gate's `accuracy` block of a drop, before its verdict, without structures, subgroups and changes."""
    worse, within = _spread(found).p_values(test.allowed)
    return JudgedAccuracy(
        verdict="inconclusive",
        metric=metric,
        **{name: value for name, value in vars(found).items() if name != "uncertainty"},
        p_worse=worse,
        p_within=within,
        needed_n=_spread(found).needed(test.allowed, found.n),
        unseen_loss=_spread(found).unseen_loss,
        allowed=test.allowed,
        strict=test.strict,
        case_set=case_set,
        source=source,
    )


def headline_metric(candidate: Exported) -> str:
    """Return the headline metric of an export's task."""
    return get_task(candidate.region.task).headline


def undecided_accuracy(candidate: Exported, allowed: float) -> Accuracy:
    """Return the block of a gate without cases."""
    return Accuracy(
        verdict="inconclusive",
        metric=headline_metric(candidate),
        drop=None,
        ci=None,
        decidable=None,
        n=None,
        needed_n=None,
        allowed=allowed,
        case_set=None,
        source=None,
    )


def _subset(name: str, compare: _Compare, rows: _Rows, allowed: float) -> Subset:
    """Compare on some of the cases; not judged if the metric is undefined on them."""
    found = compare(rows)
    if found is None or not np.isfinite(found.drop):
        n = 0 if found is None else found.n
        return Subset(name=name, n=n, groups=0, verdict="not_judged", drop=None, ci=None, p_worse=None, p_within=None)
    worse, within = _spread(found).p_values(allowed)
    return Subset(
        name=name,
        n=found.n,
        groups=found.groups,
        verdict="inconclusive",
        drop=found.drop,
        ci=found.ci,
        p_worse=worse,
        p_within=within,
    )


def _spread(found: PairedDrop) -> DropUncertainty:
    assert found.uncertainty is not None  # set for a pair of models
    return found.uncertainty


def _compare_labels(pair: ExportPair, engines: _Engines, prepared: _Prepared, test: AccuracyTest) -> _AccuracyEvidence:
    """Compare two classifiers, and count the labels that differ."""
    logits = [engine_logits(engine, one) for engine, one in zip(engines, prepared, strict=True)]
    labels, groups = prepared[0].labels, np.asarray(prepared[0].groups)

    def compare(rows: _Rows) -> PairedDrop:
        return paired_drop(labels[rows], logits[0][rows], logits[1][rows], groups[rows], seed=test.seed)

    def absent(rows: _Rows) -> list[str]:
        shown = set(labels[rows].tolist())
        return [name for index, name in enumerate(pair.candidate.classes) if index not in shown]

    changed = changed_answers.changed_labels(prepared[0], logits[0], logits[1], pair.candidate.classes)
    return _AccuracyEvidence(compare, absent, {}, changed, {"label_flips": len(changed)})


def _compare_masks(pair: ExportPair, engines: _Engines, prepared: _Prepared, test: AccuracyTest) -> _AccuracyEvidence:
    """Compare two segmentation networks by the Dice of each case, and count the pixels that differ.

    Raises:
        DataError: An engine's output is not finite.
    """
    region = pair.candidate.region
    task = get_task(region.task)
    evidence: tuple[list[ScoreInputs], list[ScoreInputs]] = ([], [])
    differing = pixels = 0
    for part, logits in _batches(pair, engines, prepared):
        for kept, found, one in zip(evidence, logits, prepared, strict=True):
            kept.append(task.score_inputs(found, one.targets[part]))
        masks = [found.argmax(1) for found in logits]
        if masks[0].shape == masks[1].shape:
            differing, pixels = differing + int((masks[0] != masks[1]).sum()), pixels + masks[0].size
    one_NS, two_NS = (
        task.scores_by_case(region, one.targets, np.concatenate(kept))
        for kept, one in zip(evidence, prepared, strict=True)
    )
    groups = np.asarray(prepared[0].groups)

    def compare_of(columns: slice) -> _Compare:
        def compare(rows: _Rows) -> PairedDrop | None:
            sides = one_NS[rows, columns], two_NS[rows, columns]
            known_N = np.isfinite(sides[0]).any(1) | np.isfinite(sides[1]).any(1)
            if not known_N.any():
                return None
            return paired_means(
                sides[0][known_N], sides[1][known_N], groups[rows][known_N], allowed=test.allowed, seed=test.seed
            )

        return compare

    count = len(region.classes)  # structure s has the value s + 1
    shown_NS = np.stack([np.bincount(mask.ravel(), minlength=count + 1)[1:] > 0 for mask in prepared[0].targets])

    def absent(rows: _Rows) -> list[str]:
        shown = shown_NS[rows]
        return [name for index, name in enumerate(region.classes) if not shown[:, index].any()]

    names = region.classes if len(region.classes) > 1 else ()
    structures = {name: compare_of(slice(index, index + 1)) for index, name in enumerate(names)}
    changed = changed_answers.changed_dice(prepared[0], one_NS, two_NS, region.classes)
    rate = {"flip_rate": differing / pixels if pixels else None}
    return _AccuracyEvidence(compare_of(slice(None)), absent, structures, changed, rate)


def _batches(pair: ExportPair, engines: _Engines, prepared: _Prepared) -> Iterator[tuple[slice, list[Float32Array]]]:
    region = pair.candidate.region
    most = min(fitting(region, one.shape, most=BATCH) for one in (pair.baseline, pair.candidate))
    for start in range(0, len(prepared[0]), most):
        part = slice(start, start + most)
        yield (
            part,
            [engine.run(np.ascontiguousarray(one.images[part])) for engine, one in zip(engines, prepared, strict=True)],
        )
