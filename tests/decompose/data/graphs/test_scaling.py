"""Scaling of features: fitted on training nodes alone, for signed and constant features."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import zscore

from lorkit.decompose.data.graphs.scaling import FeatureScaling, ScalingKind
from lorkit.decompose.errors import DataError

RAW = np.array([[-3.0, 1.0, 7.0], [0.0, 1e5, 7.0], [5525.0, 3.0, 7.0], [1.0, -2.0, 9.0]], dtype=np.float32)
TRAIN = np.array([0, 1, 2])


@pytest.mark.parametrize("kind", ["log-standard", "standard"])
def test_training_nodes_have_mean_0_and_deviation_1(kind: ScalingKind) -> None:
    logs = np.where(
        RAW < 0, -np.log(1 - np.minimum(RAW, 0).astype(float)), np.log(1 + np.maximum(RAW, 0).astype(float))
    )
    expected = zscore((logs if kind == "log-standard" else RAW.astype(float))[TRAIN, :2])
    found = FeatureScaling.fit(kind, RAW, TRAIN).apply(RAW)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[TRAIN, :2], expected, rtol=1e-5)


def test_a_constant_feature_is_centred_and_not_divided() -> None:
    raw = np.array([[0.1], [0.1], [0.1], [1.1]])
    np.testing.assert_allclose(FeatureScaling.fit("standard", raw, TRAIN).apply(raw), [[0], [0], [0], [1]], atol=1e-6)


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


def test_it_survives_json() -> None:
    scaling = FeatureScaling.fit("log-standard", RAW, TRAIN)
    read: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(scaling)))
    again = FeatureScaling(kind=read["kind"], mean=tuple(read["mean"]), std=tuple(read["std"]))
    assert again == scaling


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
