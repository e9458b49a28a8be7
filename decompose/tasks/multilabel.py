"""Multilabel: any number of the region's labels per sample, each answered by a sigmoid of its own.

Shape legend: N samples, n of one region in a batch, L labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lorkit.decompose.artifacts.arrays import Float32Array
from lorkit.decompose.documents.network import Decision
from lorkit.decompose.documents.scores import MultilabelScores
from lorkit.decompose.metrics import multilabel
from lorkit.decompose.metrics.rates import Rate
from lorkit.decompose.metrics.thresholds import Policy, policy_name
from lorkit.decompose.regions import Region
from lorkit.decompose.tasks.base import CERTAIN, ScoreInputs, Task, unanswered

if TYPE_CHECKING:
    from torch import Tensor

POLICY = "youden"
"""How validation chooses thresholds unless the region's `threshold` says otherwise."""


class Multilabel(Task):
    """Independent labels, decoded by a threshold of each label's probability."""

    name = "multilabel"
    headline = validation = "auroc"
    metrics: tuple[str, ...] = multilabel.HEADLINE
    dense = False
    unseen = multilabel.UNSEEN
    exclusive = False
    decides = True

    def outputs(self, region: Region) -> int:
        """Return the number of labels."""
        return len(region.classes)

    def own_targets(self, label: Tensor, logits: Tensor) -> Tensor:
        """Return the first L columns: a batch of several regions may be wider."""
        return label[:, : logits.shape[1]]

    def loss(self, logits: Tensor, target: Tensor, smoothing: float = 0.0, pos_weight: Tensor | None = None) -> Tensor:
        """Return the mean binary cross-entropy of the known labels of each sample, (n,); 0 if none is known."""
        from lorkit.decompose.tasks.losses import masked_binary_cross_entropy  # torch, which scoring does not need

        return masked_binary_cross_entropy(logits, target, smoothing, pos_weight)

    def divergence(self, student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        """Return T^2 KL(teacher || student) of each sample, (n,), the mean over labels of that of yes and no."""
        from lorkit.decompose.tasks.losses import softened_binary_kl

        return softened_binary_kl(student, teacher, temperature)

    def score_inputs(self, outputs: ArrayLike, targets: ArrayLike) -> ScoreInputs:
        """Return the (N, L) logits."""
        return np.asarray(outputs, dtype=np.float32)

    def scores_by_case(self, region: Region, targets: ArrayLike, score_inputs: ArrayLike) -> NDArray[np.float64]:
        """Return (N, 2 L) whose mean of means is the macro AUROC; see `metrics.multilabel.scores_by_case`."""
        return multilabel.scores_by_case(targets, score_inputs)

    def rate(
        self, region: Region, targets: ArrayLike, score_inputs: ArrayLike, groups: Sequence[str], *, seed: int = 0
    ) -> Rate:
        """Return the macro AUROC of one network with its interval."""
        return multilabel.auroc_rate(targets, score_inputs, groups, seed=seed)

    def recalls_by_case(self, region: Region, targets: ArrayLike, score_inputs: ArrayLike) -> NDArray[np.float64]:
        """Return (N, L): for a positive sample of a label whether it is found, else NaN; positive is a logit from 0."""
        found_NL = (np.asarray(score_inputs) >= 0).astype(np.float64)
        return np.where(np.asarray(targets) == 1, found_NL, np.nan)

    def answered(self, region: Region, score_inputs: ArrayLike) -> NDArray[np.bool_]:
        """Return (N, L): whether a label is answered as positive, by a logit from 0."""
        said_NL: NDArray[np.bool_] = np.asarray(score_inputs) >= 0
        return said_NL & ~unanswered(score_inputs)

    def chance(self, region: Region, targets: ArrayLike) -> float | None:
        """Return one half, the AUROC of scores without relation to the images."""
        return 0.5

    def defined(self, targets: ArrayLike) -> NDArray[np.bool_]:
        """Return (N, 2 L): the positive and the negative samples of each label that has both."""
        return multilabel.answered(targets)

    def wrong_outputs(self, region: Region, targets: ArrayLike, spatial: Sequence[int] = ()) -> Float32Array:
        """Return (N, L) logits that deny each positive label and claim each other one, beyond any threshold."""
        return np.where(np.asarray(targets) == 1, -CERTAIN, CERTAIN).astype(np.float32)

    def decide(
        self, region: Region, targets: ArrayLike, score_inputs: ArrayLike, policy: Policy | None
    ) -> Decision | None:
        """Choose the threshold of each label on the validation part."""
        stated = POLICY if policy is None else policy
        found = multilabel.choose_thresholds(targets, score_inputs, stated)
        return Decision.of(policy_name(stated), dict(zip(region.classes, found, strict=True)))

    def scores(
        self,
        region: Region,
        targets: ArrayLike,
        score_inputs: ArrayLike,
        groups: Sequence[str],
        *,
        seed: int = 0,
        decision: Decision | None = None,
    ) -> MultilabelScores:
        """Score (N, L) logits; see `metrics.multilabel.scores`."""
        found = multilabel.scores(
            targets,
            score_inputs,
            groups,
            names=region.classes,
            thresholds=None if decision is None else decision.limits(region.classes),
            seed=seed,
        )
        return MultilabelScores.model_validate(found)
