"""Verdicts of many comparisons: regions, and the structures and subgroups inside them.

Many comparisons find a loss by chance. So a FAIL is corrected for all comparisons of its family (Holm): the regions of
a gate are one family, all structures and subgroups of all regions another. A region's PASS needs no correction, because
the gate passes only if every region does. A PASS of a structure or subgroup is corrected as well.
"""

from __future__ import annotations

from collections.abc import Sequence

from lorkit.decompose.documents.gate import Accuracy, JudgedAccuracy, Subset
from lorkit.decompose.metrics.intervals import ALPHA, holm


def adjust_for_multiplicity(blocks: Sequence[Accuracy]) -> list[Accuracy]:
    """Return the `accuracy_test` of the regions of a gate with verdicts that are valid for all of them together.

    A block fails if its drop, or that of a structure or subgroup, is shown to exceed the allowed drop. It passes if its
    interval is below that and, if it is `strict`, every part is shown to be within. A block whose cases lack a class or
    structure (`absent`), whose baseline is at chance, or where a side never answers a class cannot pass, since a loss
    cannot be seen there, unless both sides are one file. Blocks without cases are unchanged.
    """
    adjusted = iter(adjust_judged([block for block in blocks if isinstance(block, JudgedAccuracy)]))
    return [next(adjusted) if isinstance(block, JudgedAccuracy) else block for block in blocks]


def adjust_judged(blocks: Sequence[JudgedAccuracy]) -> list[JudgedAccuracy]:
    """Adjust blocks that all have cases."""
    parts = [(row.p_worse, row.p_within) for block in blocks for row in block.subsets]
    known = [(worse, within) for worse, within in parts if worse is not None and within is not None]
    p_values = iter(zip(*(holm([pair[side] for pair in known]) for side in (0, 1)), strict=True))

    def adjust(row: Subset) -> Subset:
        return row if row.p_worse is None else _with_verdict(row, *next(p_values))

    return [
        _with_own_verdict(
            block.with_changes(
                p_worse_holm=p_worse,
                by_structure=[adjust(row) for row in block.by_structure],
                by_subgroup=[adjust(row) for row in block.by_subgroup],
            )
        )
        for block, p_worse in zip(blocks, holm([block.p_worse for block in blocks]), strict=True)
    ]


def _with_verdict(row: Subset, worse: float, within: float) -> Subset:
    shown = within <= ALPHA and not row.absent
    verdict = "fail" if worse <= ALPHA else "pass" if shown else "inconclusive"
    return row.with_changes(p_worse_holm=worse, p_within_holm=within, verdict=verdict)


def _with_own_verdict(block: JudgedAccuracy) -> JudgedAccuracy:
    verdicts, floors = {row.verdict for row in block.subsets}, {row.verdict for row in block.floors}
    if exceeds(block) or "fail" in verdicts | floors:
        return block.with_changes(verdict="fail")
    open_ = bool(floors - {"pass"}) or bool(block.strict and verdicts - {"pass"})
    passed = _drop_is_shown(block) and not open_
    return block.with_changes(verdict="pass" if passed else "inconclusive")


def _drop_is_shown(block: JudgedAccuracy) -> bool:
    """Return whether the drop is within the allowed one: by construction, or in cases that can show a loss.

    Equal outputs of two files that are at chance, or never answer a class, show no more than unequal ones.
    """
    if block.identical == "file":
        return True
    hidden = block.at_chance or bool(block.never_answered)
    seen = block.identical == "outputs" or (block.ci[1] < block.allowed and not block.absent)
    return seen and not hidden


def exceeds(block: Accuracy) -> bool:
    """Return whether the drop is shown to exceed the allowed one, corrected for all regions."""
    return block.p_worse_holm is not None and block.p_worse_holm <= ALPHA
