"""Non-inferiority of a candidate's accuracy: both engines on the same cases, resampled by patient (or entity).

The metric is balanced accuracy for a classifier, macro AUROC for a multilabel network, average precision for nodes, and
mean Dice for segmentation.

A point estimate of the drop would pass a bad candidate with few cases, so the interval decides: PASS needs its upper
end below the allowed drop, FAIL its lower end above; otherwise there are too few cases. Structures and subgroups are
judged too (`multiplicity`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lorkit.decompose.data.samples.columns import subgroups
from lorkit.decompose.documents.gate import Accuracy, CaseSet, JudgedAccuracy, Subset
from lorkit.decompose.errors import DataError, plural
from lorkit.decompose.metrics import PairedDrop
from lorkit.decompose.metrics.intervals import DropUncertainty
from lorkit.decompose.tasks import get_task
from lorkit.export.noninferiority import changed_answers
from lorkit.export.noninferiority.cases import EvaluationCases
from lorkit.export.noninferiority.evidence import Compare, Rows, collect_evidence
from lorkit.export.noninferiority.multiplicity import adjust_judged
from lorkit.export.runtime.exported import Exported, ExportPair

if TYPE_CHECKING:
    from lorkit.export.targets.base import Engine

_ALL = slice(None)


@dataclass(frozen=True, kw_only=True)
class AccuracyTest:
    """Settings of the accuracy test.

    Attributes:
        allowed: Largest acceptable drop of the task's headline metric, a fraction.
        seed: Seed of the bootstrap.
        columns: Columns of the cases whose values are subgroups.
        strict: PASS needs every structure and subgroup shown to be within the allowed drop.
        min_accuracy: Least headline metric of the candidate; None for none.
        min_recall: Least recall of each class or structure of the candidate; None for none.
        pictures: Show small images of the cases that changed; those of drawn phantoms are always shown.
    """

    allowed: float
    seed: int = 0
    columns: tuple[str, ...] = ()
    strict: bool = False
    min_accuracy: float | None = None
    min_recall: float | None = None
    pictures: bool = False


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
        The gate's `accuracy_test`, with its verdict before correction for other regions.

    Raises:
        UsageError: The cases have no such column.
        DataError: There is no case, or an engine's output is not finite.
    """
    baseline, candidate, about = cases.prepare(pair)
    prepared = (baseline, candidate)
    parts = [(name, subgroups(baseline.columns, name, cases.source)) for name in dict.fromkeys(test.columns)]
    evidence = collect_evidence(pair, engines, prepared, allowed=test.allowed, seed=test.seed)
    found = evidence.compare(_ALL)
    if found is None or not np.isfinite(found.drop):
        raise DataError(
            f"{plural(len(baseline), 'case')} in {cases.source} without {headline_metric(pair.candidate)}",
            required="a case with a structure, or positive and negative cases of a label",
            fix="add such cases",
        )
    shown = test.pictures or baseline.region.synthetic
    changed = changed_answers.with_pictures(evidence.changed, candidate) if shown else evidence.changed
    same_file = pair.baseline.manifest.digest == pair.candidate.manifest.digest
    block = judged_drop(found, test, metric=headline_metric(pair.candidate), case_set=about, source=cases.source)
    block = block.with_changes(
        unit=baseline.region.words.group,
        identical="file" if same_file else "outputs" if evidence.equal else None,
        **evidence.sides.findings(),
        floors=evidence.sides.floors(test.min_accuracy, test.min_recall),
        absent=evidence.absent(_ALL),
        by_structure=[_subset(name, compare, _ALL, test.allowed) for name, compare in evidence.structures.items()],
        by_subgroup=[
            _subset(value, evidence.compare, rows, test.allowed).with_changes(
                column=column, absent=evidence.absent(rows)
            )
            for column, values in parts
            for value, rows in values.items()
        ],
        changes=changed_answers.counts(changed),
        changed_answers=changed,
        **evidence.rate,
    )
    if block.at_chance:
        block = block.with_changes(needed_groups=evidence.sides.groups_above_chance())
    return adjust_judged([block if block.identical is None else _without_drop(block)])[0]


def judged_drop(
    found: PairedDrop, test: AccuracyTest, *, metric: str, case_set: CaseSet, source: str
) -> JudgedAccuracy:
    """Return the gate's `accuracy_test` of a drop, before its verdict, without structures, subgroups and changes."""
    worse, within = _spread(found).p_values(test.allowed)
    needed = _spread(found).needed(test.allowed, found.n)
    block = JudgedAccuracy(
        verdict="inconclusive",
        metric=metric,
        **{name: value for name, value in vars(found).items() if name != "uncertainty"},
        p_worse=worse,
        p_within=within,
        needed_n=needed,
        needed_groups=None if needed is None else math.ceil(needed * found.groups / found.n),
        unseen_loss=_spread(found).unseen_loss,
        allowed=test.allowed,
        strict=test.strict,
        case_set=case_set,
        source=source,
    )
    return block.with_changes(effective_groups=_spread(found).unseen.effective) if metric == "ap" else block


def _without_drop(block: JudgedAccuracy) -> JudgedAccuracy:
    """Return the block of sides that cannot differ: drops are 0 by construction, not by the number of cases."""
    none: dict[str, Any] = {"drop": 0.0, "ci": (0.0, 0.0), "p_worse": 1.0, "p_within": 0.0}
    return block.with_changes(
        **none,
        decidable=0.0,
        needed_n=None,
        needed_groups=block.needed_groups if block.at_chance else None,
        by_structure=[row if row.drop is None else row.with_changes(**none) for row in block.by_structure],
        by_subgroup=[row if row.drop is None else row.with_changes(**none, absent=[]) for row in block.by_subgroup],
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


def _subset(name: str, compare: Compare, rows: Rows, allowed: float) -> Subset:
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
