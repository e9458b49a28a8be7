"""Answers are calibrated, decided, and written as JSON that gives the same answer back."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lorkit.decompose.documents.network import Decision
from lorkit.decompose.errors import ArtifactError
from lorkit.export.serving.scores import Score, decide

CLASSES = ('no "fraud"', "été", "\u2028")


def most_probable(temperature: float | None = None) -> Decision:
    return Decision(policy="most probable", thresholds={}, temperature=temperature)


@given(st.lists(st.floats(-30, 30), min_size=6, max_size=6))
def test_of_more_classes_the_score_is_the_lead_of_the_most_probable(drawn: list[float]) -> None:
    logits = np.array(drawn, dtype=np.float32).reshape(2, 3)
    for found, row in zip(decide(logits, CLASSES, most_probable(2.0)), logits.tolist(), strict=True):
        shares = [math.exp(one / 2) for one in row]
        wanted = [one / sum(shares) for one in shares]
        assert list(found.probabilities.values()) == pytest.approx(wanted, abs=1e-12)
        assert found.score == pytest.approx(sorted(wanted)[2] - sorted(wanted)[1], abs=1e-12)
        assert found.probabilities[found.answer] == max(found.probabilities.values())
        text = found.to_json()
        assert text == json.dumps(found._asdict())
        assert Score.from_json(text) == found


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"score": 1}', "NaN"])
def test_another_text_is_no_answer(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - any
        Score.from_json(text)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_logits_that_are_not_finite_are_refused(value: float) -> None:
    with pytest.raises(ArtifactError, match="answers a row with NaN or infinity"):
        decide(np.array([[0, 1], [0, value]], dtype=np.float32), ("no", "yes"), most_probable())
