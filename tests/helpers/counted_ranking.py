"""AUROC and average precision by counting, without sorting: the reference of the fast ones."""

from __future__ import annotations


def pair_auroc(positive: list[bool], score: list[float]) -> float:
    """Share of pairs of a positive and a negative case that are in order, ties one half."""
    pairs = [(p, n) for p, yes in zip(score, positive, strict=True) if yes
             for n, other in zip(score, positive, strict=True) if not other]  # fmt: skip
    return sum((p > n) + 0.5 * (p == n) for p, n in pairs) / len(pairs) if pairs else float("nan")


def counted_precision(positive: list[bool], score: list[float]) -> float:
    """Mean over positive cases of the share of positives among the cases with at least their score."""
    found = [
        sum(yes for yes, other in zip(positive, score, strict=True) if other >= own) / sum(s >= own for s in score)
        for own, mine in zip(score, positive, strict=True)
        if mine
    ]
    return sum(found) / len(found) if found else float("nan")
