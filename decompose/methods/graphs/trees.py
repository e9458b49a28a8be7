"""Gradient boosting on a node's own features, or on the tokens that RAGFormer sees: the bar for networks of graphs.

Histogram-based boosting of scikit-learn, after LightGBM (Ke et al., NeurIPS 2017). Training nodes see the labels of
their neighbours exactly as in RAGFormer, without those of their own fold, because both read the same prepared parts.
scikit-learn comes with the extra `graph` and is imported where it is used.

Shapes: N nodes, C classes, R relations, K hops, F features, V = F + 1, D inputs of the trees.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from lorkit.decompose.artifacts.arrays import Float32Array
from lorkit.decompose.config import Config
from lorkit.decompose.data.prepared import PreparedRegion
from lorkit.decompose.errors import MissingRuntimeError
from lorkit.decompose.events import Listener, Working
from lorkit.decompose.methods.graphs.base import FittedBaseline, FittedNodes, score_of

if TYPE_CHECKING:
    from sklearn.ensemble import HistGradientBoostingClassifier

# Each is fitted, and validation takes the better one: few training nodes need small trees.
LEAVES = (8, 31)
ITERATIONS, PATIENCE = 500, 30
LEARNING_RATE = 0.05
# of the columns, drawn with the seed for each split: tokens have many that are alike
COLUMNS = 0.3


def own_features(part: PreparedRegion) -> Float32Array:
    """Return the (N, F) scaled features of the nodes themselves."""
    return np.asarray(part.stored[:, -2, 0, 0, :-1])


def token_features(part: PreparedRegion) -> Float32Array:
    """Return (N, D): own features, then groups of neighbours, their sizes and propagated features of R*K hops."""
    count = len(part.stored)
    return np.concatenate([own_features(part), part.stored[:, :, :, 1:].reshape(count, -1)], axis=1)


class Trees(FittedBaseline):
    """`trees-own` and `trees-tokens`: boosted trees of own features, or of tokens.

    Validation chooses the size of the trees and their number: boosting ends once the loss does not fall for `PATIENCE`
    iterations, and the number with the highest average precision is taken.
    """

    def __init__(self, name: str, *, tokens: bool) -> None:
        self.name = name
        self.inputs = token_features if tokens else own_features

    def notices(self, config: Config) -> list[str]:
        """Return nothing; raise MissingRuntimeError if scikit-learn is not installed."""
        load_boosting()
        return []

    def constants(self) -> dict[str, Any]:
        """Return the sizes, the number and the learning rate of the trees."""
        return {
            "leaves": LEAVES,
            "iterations": ITERATIONS,
            "patience": PATIENCE,
            "learning_rate": LEARNING_RATE,
            "columns": COLUMNS,
        }

    def fit(self, config: Config, train: PreparedRegion, val: PreparedRegion, on_event: Listener) -> FittedNodes:
        """Fit trees of each size, and return those that are best on validation."""
        fitted = []
        for done, leaves in enumerate(LEAVES):
            on_event(Working(f"{self.name} of {train.region.name}", done, len(LEAVES)))
            fitted.append(self._fit(leaves, config.seed, train, val))
        on_event(Working(f"{self.name} of {train.region.name}", len(LEAVES), len(LEAVES)))
        _, model, used = max(fitted, key=lambda one: one[0])
        trees = [tree for iteration in model._predictors[:used] for tree in iteration]
        return FittedNodes(
            logits=lambda part: _stage(model, self.inputs(part), used),
            parameters=sum(len(tree.nodes) for tree in trees),
            macs=sum(int(tree.get_max_depth()) for tree in trees),
            size=sum(int(tree.nodes.nbytes) for tree in trees),
        )

    def _fit(
        self, leaves: int, seed: int, train: PreparedRegion, val: PreparedRegion
    ) -> tuple[float, HistGradientBoostingClassifier, int]:
        """Return the score on validation, the trees, and how many iterations of them have it."""
        model = load_boosting()(
            learning_rate=LEARNING_RATE,
            max_iter=ITERATIONS,
            max_leaf_nodes=leaves,
            max_features=COLUMNS,
            early_stopping=True,
            n_iter_no_change=PATIENCE,
            random_state=seed,
        )
        inputs = self.inputs(val)
        model.fit(self.inputs(train), train.labels, X_val=inputs, y_val=val.labels)
        scores = [score_of(val, logits) for logits in _stages(model, inputs)]
        best = int(np.argmax(scores))
        return scores[best], model, best + 1


def load_boosting() -> Any:
    """Return the class of the trees; raise MissingRuntimeError if scikit-learn is not installed."""
    try:
        from sklearn.ensemble import HistGradientBoostingClassifier
    except ImportError:
        raise MissingRuntimeError(
            "trees need scikit-learn, which is not installed",
            required="the extra 'graph'",
            fix='pip install "lorkit[graph]"',
        ) from None
    return HistGradientBoostingClassifier


def _stages(model: HistGradientBoostingClassifier, inputs: Float32Array) -> Iterator[Float32Array]:
    """Yield the (N, C) logits after each iteration; of two classes the log-odds are their difference."""
    for raw in model.staged_decision_function(inputs):
        logits = np.stack([-raw, raw], axis=1) / 2 if raw.ndim == 1 else raw
        yield logits.astype(np.float32)


def _stage(model: HistGradientBoostingClassifier, inputs: Float32Array, iterations: int) -> Float32Array:
    return next(logits for done, logits in enumerate(_stages(model, inputs), start=1) if done == iterations)


METHODS = (Trees("trees-own", tokens=False), Trees("trees-tokens", tokens=True))
