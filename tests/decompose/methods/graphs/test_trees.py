"""Boosted trees on nodes, against scikit-learn itself and on what they must and must not see."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest
from fitted_nodes import nodes_of

from lorkit.decompose.config import default_config
from lorkit.decompose.data.prepared import PreparedRegion
from lorkit.decompose.errors import MissingRuntimeError
from lorkit.decompose.events import ignore
from lorkit.decompose.methods import get_method
from lorkit.decompose.methods.graphs import trees
from lorkit.decompose.methods.graphs.base import score_of

sklearn_only = pytest.mark.skipif(
    importlib.util.find_spec("sklearn") is None, reason="the extra 'graph' is not installed"
)
CONFIG = default_config(method="trees-own")


def part(seed: int, count: int = 400, classes: int = 2) -> PreparedRegion:
    """Nodes whose class shows in their own first feature, and better in their positive neighbours."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, count)
    own = rng.normal(0, 1, (count, 3))
    own[:, 0] += labels
    groups = rng.normal(0, 1, (count, 4))
    groups[:, 3] += 3 * labels
    return nodes_of(own, labels, groups)


def test_inputs_are_own_features_or_all_that_a_network_sees() -> None:
    one = part(0, 5)
    assert np.array_equal(trees.own_features(one), one.stored[:, 2, 0, 0, :3])
    found = trees.token_features(one)
    assert found.shape == (5, 3 + 4 * 4)
    kept = np.concatenate([one.stored[:, 2, 0, 0, :3], *(one.stored[:, group, 0, 1] for group in range(4))], axis=1)
    assert np.array_equal(found, kept)


@sklearn_only
def test_the_logits_are_those_of_the_best_iteration(monkeypatch: pytest.MonkeyPatch) -> None:
    from sklearn.ensemble import HistGradientBoostingClassifier

    monkeypatch.setattr(trees, "LEAVES", (5,))
    monkeypatch.setattr(trees, "ITERATIONS", 12)
    monkeypatch.setattr(trees, "LEARNING_RATE", 1.0)  # so that more trees are worse
    train, val, test = part(0), part(1), part(2)
    found = get_method("trees-own").fit(CONFIG, train, val, ignore)
    own = trees.own_features
    scores = []
    for count in range(1, 13):
        model = HistGradientBoostingClassifier(
            learning_rate=trees.LEARNING_RATE, max_iter=count, max_leaf_nodes=5, max_features=trees.COLUMNS,
            early_stopping=False, random_state=CONFIG.seed,
        ).fit(own(train), train.labels)  # fmt: skip
        raw = model.decision_function(own(val))
        scores.append((score_of(val, np.stack([-raw, raw], 1) / 2), model))
    best = max(scores, key=lambda one: one[0])
    assert best is not scores[-1]
    logits = found.logits(test)
    assert logits.dtype == np.float32
    np.testing.assert_allclose(logits[:, 1] - logits[:, 0], best[1].decision_function(own(test)), rtol=1e-5, atol=1e-6)
    assert found.parameters == sum(len(tree.nodes) for one in best[1]._predictors for tree in one)
    assert found.exposure is None


@sklearn_only
def test_tokens_know_more_than_the_node_and_seeds_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trees, "ITERATIONS", 40)
    train, val, test = part(0), part(1), part(2)
    own, tokens = (get_method(name).fit(CONFIG, train, val, ignore) for name in ("trees-own", "trees-tokens"))
    assert score_of(test, own.logits(test)) + 0.1 < score_of(test, tokens.logits(test))
    again, other = (
        get_method("trees-tokens").fit(CONFIG.model_copy(update={"seed": seed}), train, val, ignore) for seed in (0, 1)
    )
    assert np.array_equal(again.logits(test), tokens.logits(test))
    assert not np.array_equal(other.logits(test), tokens.logits(test))


@sklearn_only
def test_more_than_two_classes_have_a_logit_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trees, "ITERATIONS", 10)
    train, val = part(0, classes=3), part(1, classes=3)
    logits = get_method("trees-tokens").fit(CONFIG, train, val, ignore).logits(val)
    assert logits.shape == (400, 3)
    assert (logits.argmax(1) == val.labels).mean() > 0.6


def test_a_missing_library_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.ensemble", None)
    with pytest.raises(MissingRuntimeError, match=r'trees need scikit-learn.*pip install "lorkit\[graph\]"'):
        get_method("trees-own").notices(CONFIG)


def test_scikit_learn_is_imported_where_it_is_used() -> None:
    lines = Path(trees.__file__).read_text(encoding="utf-8").splitlines()
    assert not [line for line in lines if line.startswith(("import sklearn", "from sklearn"))]
