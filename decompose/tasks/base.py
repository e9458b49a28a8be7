"""The interface of a task; one file per task.

Shapes: N samples, n of one region in a batch, K outputs per sample or pixel, S classes or structures; `spatial` is the
image's grid for a dense task, else empty.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lorkit.decompose.artifacts.arrays import Float32Array
from lorkit.decompose.documents.network import Decision
from lorkit.decompose.errors import UsageError
from lorkit.decompose.regions import Region

if TYPE_CHECKING:
    from torch import Tensor

    from lorkit.decompose.documents.scores import TaskScores
    from lorkit.decompose.metrics import PairedDrop
    from lorkit.decompose.metrics.rates import Rate
    from lorkit.decompose.metrics.thresholds import Policy

ScoreInputs = NDArray[Any]
"""What is kept of each sample's outputs to score it by, (N, ...): logits, or numbers of a mask by structure."""
CERTAIN = 1e4
"""A logit beyond those of networks, so that a wrong answer ranks last."""


def unanswered(score_inputs: ArrayLike) -> NDArray[np.bool_]:
    """Return (N, 1): which logits (N, K) are `wrong_outputs`, also minus thresholds."""
    rows_N1: NDArray[np.bool_] = np.abs(np.asarray(score_inputs)).max(1, keepdims=True) > CERTAIN / 2
    return rows_N1


class Task(Protocol):
    """The meaning of a network's outputs: targets, loss, decoding, metrics and names.

    Attributes:
        name: Name in the configuration.
        output: Name of the graph's output.
        headline: Metric of the gate and comparisons.
        validation: Metric of the best epoch, computed from outputs as they are.
        metrics: Metrics of a region's block that are averaged over regions.
        dense: Whether outputs are maps of the image's size.
        unseen: Loss in each score of the worst patient that cases cannot exclude; see `metrics.intervals`.
        exclusive: Whether one softmax is over all outputs; else each is a sigmoid of its own.
        graded: Whether scores differ by degree, so that nearly every case differs between two networks and the cases
            show how much differences vary. Hits do not: a loss in few patients may be in none of them.
        decides: Whether `decide` chooses thresholds on validation; else the largest output is the answer.
    """

    name: str
    output: str = "logits"
    headline: str
    validation: str
    metrics: tuple[str, ...]
    dense: bool
    unseen: float = 1.0
    exclusive: bool = True
    graded: bool = False
    decides: bool = False

    def outputs(self, region: Region) -> int:
        """Return the number of outputs per sample, or per pixel."""
        ...

    def own_targets(self, label: Tensor, logits: Tensor) -> Tensor:
        """Return the targets of samples as `loss` takes them, from those of a batch, which may be flat and filled."""
        ...

    def loss(self, logits: Tensor, target: Tensor, smoothing: float = 0.0, pos_weight: Tensor | None = None) -> Tensor:
        """Return the training loss of each sample, (n,) float32 or wider, also under autocast.

        Args:
            logits: (n, K, *spatial).
            target: (n, *spatial) int64; (n, L) of several labels.
            smoothing: Label smoothing of the cross-entropy.
            pos_weight: (L,) factors of the loss of positive labels; None for 1.
        """
        ...

    def divergence(self, student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        """Return T^2 KL(teacher || student) of each sample, (n,); a mean over pixels for a dense task.

        Args:
            student: (n, K, *spatial) logits.
            teacher: As `student`.
            temperature: T.
        """
        from lorkit.decompose.tasks.losses import softened_kl  # torch, which scoring does not need

        values = softened_kl(student, teacher, temperature)
        return values.flatten(1).mean(1) if self.dense else values

    def score_inputs(self, outputs: ArrayLike, targets: ArrayLike) -> ScoreInputs:
        """Reduce outputs (N, K, *spatial) to the inputs of `scores_by_case`, one small row per sample.

        For `scores`, a dense task needs the masks at their original size: `evaluation.scoring`.
        """
        ...

    def scores_by_case(self, region: Region, targets: ArrayLike, score_inputs: ArrayLike) -> NDArray[np.float64]:
        """Return (N, S): the score of a sample for each class, NaN if undefined; in [0, 1] but for AUROC and AP.

        The headline metric is the mean over classes of the mean over samples.
        """
        ...

    def rate(
        self, region: Region, targets: ArrayLike, score_inputs: ArrayLike, groups: Sequence[str], *, seed: int = 0
    ) -> Rate:
        """Return the headline metric of one network, with an interval that is wide where few patients were seen."""
        from lorkit.decompose.metrics.rates import mean_rate  # a prediction measures nothing

        return mean_rate(self.scores_by_case(region, targets, score_inputs), groups, seed=seed)

    def paired(
        self,
        region: Region,
        targets: ArrayLike,
        sides: tuple[ArrayLike, ArrayLike],
        groups: Sequence[str],
        *,
        seed: int = 0,
    ) -> PairedDrop:
        """Return the drop in the headline metric between two networks on the same cases.

        Args:
            region: The region.
            targets: (N, ...) of the samples.
            sides: The score inputs of baseline and candidate.
            groups: (N,) patient (or other cluster) of each sample.
            seed: Seed of the bootstrap.
        """
        from lorkit.decompose.metrics.paired import paired_cases

        one, two = (self.scores_by_case(region, targets, side) for side in sides)
        return paired_cases(one, two, groups, unseen=self.unseen, most=max(1.0, self.unseen), seed=seed)

    def unseen_bound(self, region: Region, targets: ArrayLike, groups: Sequence[str]) -> float:
        """Return the largest difference in the headline metric that no group of samples has shown."""
        from lorkit.decompose.metrics.paired import unseen_bound

        return unseen_bound(self.defined(targets), groups, self.unseen)

    def recalls_by_case(self, region: Region, targets: ArrayLike, score_inputs: ArrayLike) -> NDArray[np.float64]:
        """Return (N, S) in [0, 1]: how much of each class or structure a sample shows is found, NaN if it shows none.

        The recall of a class is the mean over samples.
        """
        ...

    def answered(self, region: Region, score_inputs: ArrayLike) -> NDArray[np.bool_]:
        """Return (N, S): which classes or structures the outputs of each sample name."""
        ...

    def never_answered(self, region: Region, targets: ArrayLike, score_inputs: ArrayLike) -> list[str]:
        """Return the classes or structures that the samples show and the outputs of none of them name."""
        shown_NS = np.isfinite(self.recalls_by_case(region, targets, score_inputs))
        answered_NS = self.answered(region, score_inputs)
        return [
            name
            for index, name in enumerate(region.classes)
            if shown_NS[:, index].any() and not answered_NS[:, index].any()
        ]

    def chance(self, region: Region, targets: ArrayLike) -> float | None:
        """Return the headline metric of a network that ignores its images; None if it has no such value."""
        ...

    def defined(self, targets: ArrayLike) -> NDArray[np.bool_]:
        """Return (N, S): which of the `scores_by_case` a sample defines by its target alone."""
        ...

    def wrong_outputs(self, region: Region, targets: ArrayLike, spatial: Sequence[int] = ()) -> Float32Array:
        """Return (N, K, *spatial) outputs that are wrong in every decision: what a case without an answer counts as.

        Args:
            region: The region.
            targets: (N, ...) of the samples.
            spatial: Grid of a dense task's outputs.
        """
        ...

    def check_policy(self, region: Region, policy: Policy | None) -> None:
        """Raise UsageError if the region's `threshold` is stated and has no meaning."""
        if policy is not None and not self.decides:
            raise UsageError(
                f"region '{region.name}' of task {self.name} states threshold",
                required="a multilabel or node region",
                fix="leave threshold out",
            )

    def decide(
        self, region: Region, targets: ArrayLike, score_inputs: ArrayLike, policy: Policy | None
    ) -> Decision | None:
        """Choose on the validation part how probabilities become answers; None where the largest one is the answer."""
        return None

    def scores(
        self,
        region: Region,
        targets: ArrayLike,
        score_inputs: ArrayLike,
        groups: Sequence[str],
        *,
        seed: int = 0,
        decision: Decision | None = None,
    ) -> TaskScores:
        """Return the metrics of an `evaluate` document's region block; `decision` is that of `decide`."""
        ...
