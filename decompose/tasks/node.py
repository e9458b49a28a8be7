"""Node classification: one of the region's classes for each node of a graph, such as benign and fraud.

Positive nodes are few, so the metric is the average precision of the second of two classes (the positive one), or the
mean over the classes of more. The score is the softmax probability, calibrated by a temperature, and of two classes the
answer is the positive one from a threshold of this probability on; both are chosen on validation.

Shape legend: N samples, C classes, K positive classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lorkit.decompose.documents.network import Decision
from lorkit.decompose.documents.scores import NodeScores
from lorkit.decompose.errors import UsageError
from lorkit.decompose.metrics import PairedDrop, node
from lorkit.decompose.metrics.bootstrap import mean_defined
from lorkit.decompose.metrics.paired_precision import unseen_group
from lorkit.decompose.metrics.rates import Rate
from lorkit.decompose.metrics.thresholds import Policy, policy_name
from lorkit.decompose.regions import Region
from lorkit.decompose.tasks.classification import Classification

POLICY = "f1"
"""How validation chooses the threshold unless the region's `threshold` says otherwise."""


class Node(Classification):
    """Mutually exclusive classes of nodes, of two of which the second one is found by a threshold."""

    name = "node"
    headline = validation = "ap"
    metrics: tuple[str, ...] = node.HEADLINE
    decides = graded = True

    def scores_by_case(self, region: Region, targets: ArrayLike, score_inputs: ArrayLike) -> NDArray[np.float64]:
        """Return (N, K) whose mean of means is the average precision; see `metrics.node.scores_by_case`."""
        return node.scores_by_case(targets, score_inputs)

    def rate(
        self, region: Region, targets: ArrayLike, score_inputs: ArrayLike, groups: Sequence[str], *, seed: int = 0
    ) -> Rate:
        """Return the average precision of one network with its interval."""
        return node.average_precision_rate(targets, score_inputs, groups, seed=seed)

    def paired(
        self,
        region: Region,
        targets: ArrayLike,
        sides: tuple[ArrayLike, ArrayLike],
        groups: Sequence[str],
        *,
        seed: int = 0,
    ) -> PairedDrop:
        """Return the drop in average precision, computed anew in every replicate."""
        return node.paired_drop(targets, *sides, groups, seed=seed)

    def unseen_bound(self, region: Region, targets: ArrayLike, groups: Sequence[str]) -> float:
        """Return the largest drop in average precision that no entity has shown."""
        members_NK = node.members(targets, len(region.classes))
        return unseen_group(members_NK, np.unique(np.asarray(groups), return_inverse=True)[1]).bound()

    def recalls_by_case(self, region: Region, targets: ArrayLike, score_inputs: ArrayLike) -> NDArray[np.float64]:
        """Return (N, C): in the column of the true class 1 for a hit and 0 for a miss, else NaN."""
        return super().scores_by_case(region, targets, score_inputs)

    def chance(self, region: Region, targets: ArrayLike) -> float | None:
        """Return the share of positive nodes: the average precision of scores without relation to the nodes."""
        share_K = node.members(targets, len(region.classes)).mean(0)
        return float(mean_defined(np.where((share_K > 0) & (share_K < 1), share_K, np.nan)))

    def check_policy(self, region: Region, policy: Policy | None) -> None:
        """Accept a threshold of two classes only."""
        if policy is not None and len(region.classes) != 2:
            raise UsageError(
                f"region '{region.name}' of {len(region.classes)} classes states threshold",
                required="two classes, of which the second is the positive one",
                fix="leave threshold out: the answer is the most probable class",
            )

    def decide(self, region: Region, targets: ArrayLike, score_inputs: ArrayLike, policy: Policy | None) -> Decision:
        """Choose the temperature, and of two classes the threshold of the positive one, on the validation part."""
        self.check_policy(region, policy)
        if len(region.classes) != 2:
            temperature, _ = node.choose(targets, score_inputs, None)
            return Decision(policy="most probable", thresholds={}, temperature=temperature)
        stated = POLICY if policy is None else policy
        temperature, found = node.choose(targets, score_inputs, stated)
        name = region.classes[1]
        return Decision.of(policy_name(stated), {name: found}, temperature=temperature)

    def scores(
        self,
        region: Region,
        targets: ArrayLike,
        score_inputs: ArrayLike,
        groups: Sequence[str],
        *,
        seed: int = 0,
        decision: Decision | None = None,
    ) -> NodeScores:
        """Score (N, C) logits; see `metrics.node.scores`."""
        stated = decision or Decision(policy="most probable", thresholds={})
        found = node.scores(
            targets,
            score_inputs,
            groups,
            classes=region.classes,
            threshold=stated.positive_from(region.classes),
            temperature=stated.temperature or 1.0,
            recall_at=region.recall_at,
            seed=seed,
        )
        return NodeScores.model_validate(found)
