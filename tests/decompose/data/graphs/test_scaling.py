"""Scaling of features: fitted on training nodes alone, for signed and constant features."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm, rankdata, zscore

from lorkit.decompose.config.graphs import NodeInput, Scaling
from lorkit.decompose.data.graphs.scaling import FeatureScaling
from lorkit.decompose.errors import DataError

RAW = np.array([[-3.0, 1.0, 7.0], [0.0, 1e5, 7.0], [5525.0, 3.0, 7.0], [1.0, -2.0, 9.0]], dtype=np.float32)
TRAIN = np.array([0, 1, 2])


@pytest.mark.parametrize("kind", ["log-standard", "standard"])
def test_training_nodes_have_mean_0_and_deviation_1(kind: Scaling) -> None:
    logs = np.where(
        RAW < 0, -np.log(1 - np.minimum(RAW, 0).astype(float)), np.log(1 + np.maximum(RAW, 0).astype(float))
    )
    expected = zscore((logs if kind == "log-standard" else RAW.astype(float))[TRAIN, :2])
    found = FeatureScaling.fit(kind, RAW, TRAIN).apply(RAW)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[TRAIN, :2], expected, rtol=1e-5)


@pytest.mark.parametrize("draw", ["lognormal", "ties"])
def test_quantile_gives_the_normal_score_of_the_rank(draw: str) -> None:
    rng = np.random.default_rng(3)
    values = rng.lognormal(0, 3, 4000) if draw == "lognormal" else rng.integers(0, 5, 4000).astype(float)
    # the share of training nodes below a value, and half of those equal to it
    expected = norm.ppf((rankdata(values, "average") - 0.5) / len(values))
    inner = np.abs(expected) < 2
    found = FeatureScaling.fit("quantile", values[:, None], np.arange(len(values))).apply(values[:, None])[:, 0]
    np.testing.assert_allclose(found[inner], zscore(expected)[inner], atol=0.06)
    assert (np.diff(found[np.argsort(values, kind="stable")]) >= 0).all()


def test_quantile_bounds_values_that_training_has_not() -> None:
    values = np.linspace(-1, 1, 500)[:, None]
    scaling = FeatureScaling.fit("quantile", values, np.arange(500))
    low, middle, high = scaling.apply(np.array([[-1e30], [0.0], [1e30]]))[:, 0]
    assert -4 < low < -3
    assert abs(middle) < 0.02
    assert 3 < high < 4


@settings(deadline=None)
@given(st.lists(st.floats(-1e5, 1e5), min_size=3, max_size=30), st.sampled_from(["quantile", "log-standard"]))
def test_order_is_kept(values: list[float], kind: Scaling) -> None:
    raw = np.sort(np.array(values))[:, None]
    found = FeatureScaling.fit(kind, raw, np.arange(len(raw))).apply(raw)
    assert np.isfinite(found).all()
    assert (np.diff(found[:, 0]) >= 0).all()


@pytest.mark.parametrize("kind", ["quantile", "standard"])
def test_a_constant_feature_is_centred_and_not_divided(kind: Scaling) -> None:
    raw = np.array([[0.1], [0.1], [0.1], [1.1]])
    above = 1 if kind == "standard" else norm.ppf(0.999)
    np.testing.assert_allclose(FeatureScaling.fit(kind, raw, TRAIN).apply(raw), [[0], [0], [0], [above]], atol=1e-6)


def test_none_leaves_features_as_they_are() -> None:
    np.testing.assert_array_equal(FeatureScaling.fit("none", RAW, TRAIN).apply(RAW), RAW)


@settings(deadline=None)
@given(values=st.lists(st.floats(-1e6, 1e6), min_size=3, max_size=3))
def test_other_nodes_change_nothing(values: list[float]) -> None:
    other = RAW.copy()
    other[3] = values
    assert FeatureScaling.fit("log-standard", other, TRAIN) == FeatureScaling.fit("log-standard", RAW, TRAIN)


def test_a_node_is_scaled_the_same_by_itself() -> None:
    scaling = FeatureScaling.fit("log-standard", RAW, TRAIN)
    np.testing.assert_array_equal(scaling.apply(RAW[2:3]), scaling.apply(RAW)[2:3])


@pytest.mark.parametrize("kind", ["quantile", "log-standard"])
def test_it_survives_the_stored_input_of_a_network(kind: Scaling) -> None:
    scaling = FeatureScaling.fit(kind, RAW, TRAIN)
    nodes = NodeInput(
        relations=("r",), features=("a", "b", "c"), class_count=2, hops=1, group_sizes=True, keys=False, timed=False,
        label_delay=0.0, scaling=kind, mean=scaling.mean, std=scaling.std, knots=scaling.knots,
    )  # fmt: skip
    assert FeatureScaling.of(NodeInput.model_validate_json(nodes.model_dump_json())) == scaling


def test_an_infinite_feature_is_refused() -> None:
    scaling = FeatureScaling.fit("quantile", RAW, TRAIN)
    with pytest.raises(DataError, match="feature 1 of node 0 is inf"):
        scaling.apply(np.array([[np.inf, 0.0, 0.0]]))


def test_bad_features_are_refused() -> None:
    scaling = FeatureScaling.fit("none", RAW, TRAIN)
    wrong = RAW.astype(float)
    wrong[1, 2] = np.nan
    with pytest.raises(DataError, match="feature 3 of node 1 is nan"):
        scaling.apply(wrong)
    wrong[1, 2] = 1e300
    with pytest.raises(DataError, match=r"feature 3 of node 1 is 1e\+300, scaled inf"):
        scaling.apply(wrong)
    with pytest.raises(DataError, match="3 features per node"):
        scaling.apply(RAW[:, :2])
    with pytest.raises(DataError, match="no training node"):
        FeatureScaling.fit("none", RAW, TRAIN[:0])
