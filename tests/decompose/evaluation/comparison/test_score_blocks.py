"""Thresholds of nodes are chosen on validation; without validation the most probable class is the answer."""

from __future__ import annotations

import numpy as np
import pytest
from fitted_nodes import nodes_of

from lorkit.decompose.evaluation.comparison.score_blocks import needs_validation, score_blocks
from lorkit.decompose.metrics import node


def test_the_threshold_of_a_part_comes_from_validation() -> None:
    rng = np.random.default_rng(0)
    labels = {part: (rng.random(300) < 0.1).astype(np.int64) for part in ("val", "test")}
    parts = {part: {"bank": nodes_of(rng.normal(0, 1, (300, 2)), label)} for part, label in labels.items()}
    margins = {part: rng.normal(0, 1, 300) + 2 * label - 3 for part, label in labels.items()}
    evidence = {part: {"bank": np.stack([-z, z], 1).astype(np.float32) / 2} for part, z in margins.items()}
    assert needs_validation(parts["val"]["bank"])
    found = score_blocks(evidence, parts, {"bank": {"cost": 20.0}})["test"]["bank"]
    temperature, chosen = node.choose(labels["val"], evidence["val"]["bank"], {"cost": 20.0})
    answers = node.answers(evidence["test"]["bank"], chosen.threshold, temperature)
    assert found.accuracy == pytest.approx((answers == labels["test"]).mean())
    alone = score_blocks({"test": evidence["test"]}, {"test": parts["test"]}, {})["test"]["bank"]
    assert alone.accuracy == pytest.approx(((margins["test"] > 0) == labels["test"]).mean())
    assert alone.accuracy > found.accuracy
    assert alone.ap == found.ap
