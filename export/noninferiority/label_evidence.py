"""Two multilabel networks on the same cases: the drop in macro AUROC and in that of each label.

Shapes: N cases, L labels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lorkit.decompose.metrics import PairedDrop
from lorkit.decompose.metrics.multilabel import UNSEEN, scores_by_case, undefined_labels
from lorkit.decompose.metrics.paired import paired_cases

if TYPE_CHECKING:
    from lorkit.decompose.data.prepared import PreparedRegion

_ALL = slice(None)


@dataclass(frozen=True)
class LabelEvidence:
    """The logits (N, L) of baseline and candidate for the same cases, minus their thresholds: positive from 0."""

    prepared: PreparedRegion
    baseline_NL: NDArray[Any]
    candidate_NL: NDArray[Any]
    seed: int

    def compare(self, rows: list[int] | slice, columns: slice = _ALL) -> PairedDrop | None:
        """Return the drop in macro AUROC of some labels on some cases; None if no label has both answers there."""
        labels = self.prepared.labels[rows][:, columns]
        known_N = (labels >= 0).any(1)
        labels, groups = labels[known_N], np.asarray(self.prepared.groups)[rows][known_N]
        names = self.prepared.region.classes[columns]
        if not len(labels) or len(undefined_labels(labels, names)) == len(names):
            return None
        one, two = (
            scores_by_case(labels, side[rows][known_N][:, columns]) for side in (self.baseline_NL, self.candidate_NL)
        )
        return paired_cases(one, two, groups, unseen=UNSEEN, most=UNSEEN, seed=self.seed)

    def absent(self, rows: list[int] | slice) -> list[str]:
        """Return the labels without a positive or without a negative case among some cases."""
        return undefined_labels(self.prepared.labels[rows], self.prepared.region.classes)

    def flipped_cases(self) -> int:
        """Count the cases with a label that the two answer differently, known or not."""
        return int(((self.baseline_NL >= 0) != (self.candidate_NL >= 0)).any(1).sum())
