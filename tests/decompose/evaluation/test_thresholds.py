from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lorkit.decompose.data import PreparedRegion
from lorkit.decompose.evaluation.thresholds import decide
from lorkit.decompose.regions import Region


def test_thresholds_are_chosen_on_the_networks_answers(make_prepared: object) -> None:
    prepared: PreparedRegion = make_prepared(8)  # type: ignore[operator]
    assert decide(lambda batch: np.zeros((len(batch), 2)), prepared, None) is None
    labels = np.array([[1, -1], [0, -1]] * 4)
    region = Region(name="a", task="multilabel", classes=("x", "y"))
    many = replace(prepared, region=region, labels=labels)
    found = decide(lambda batch: 4.0 * labels - 1.0, many, None)
    assert found is not None
    assert found.policy == "youden"
    assert found.thresholds["x"] == pytest.approx(1 / (1 + np.exp(-1)))
    assert found.thresholds["y"] is None
    fixed = decide(lambda batch: 4.0 * labels - 1.0, many, 0.25)
    assert fixed is not None
    assert (fixed.policy, fixed.thresholds) == ("0.25", {"x": 0.25, "y": 0.25})
