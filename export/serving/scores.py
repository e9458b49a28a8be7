"""Answers for rows: what a network's logits say, calibrated and decided, and the JSON that a store keeps of it.

Shapes: N rows, C classes.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from json.encoder import encode_basestring_ascii
from typing import Any, NamedTuple, Self

import numpy as np

from lorkit.decompose.artifacts.arrays import Float32Array
from lorkit.decompose.documents.network import Decision
from lorkit.decompose.errors import ArtifactError
from lorkit.decompose.metrics import node
from lorkit.decompose.metrics.probabilities import softmax


class Score(NamedTuple):
    """The answer for a row.

    Attributes:
        score: Calibrated probability of the second of two classes minus that of the first; of more classes, the
            largest probability minus the next.
        probabilities: Calibrated probability by class.
        answer: The class, by the threshold of the network.
    """

    score: float
    probabilities: dict[str, float]
    answer: str

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Return the answer that `to_json` wrote; raise ValueError if the text is none."""
        found: Any = json.loads(text)
        if not isinstance(found, dict) or set(found) != {"score", "probabilities", "answer"}:
            raise ValueError("no answer")
        return cls(**found)

    def to_json(self) -> str:
        """Return the answer as a JSON object."""
        shares = ", ".join([f"{encode_basestring_ascii(name)}: {one!r}" for name, one in self.probabilities.items()])
        answer = encode_basestring_ascii(self.answer)
        return f'{{"score": {self.score!r}, "probabilities": {{{shares}}}, "answer": {answer}}}'


def decide(logits: Float32Array, classes: Sequence[str], decision: Decision) -> list[Score]:
    """Return the answers from logits (N, C).

    Raises:
        ArtifactError: A logit is not finite.
    """
    if not np.isfinite(logits).all():
        raise ArtifactError(
            "the network answers a row with NaN or infinity",
            required="finite outputs for finite inputs",
            fix="use the export of another precision, or train again",
        )
    temperature = decision.temperature or 1.0
    answers_N = node.answers(logits, decision.positive_from(classes), temperature)
    probability_NC = softmax(np.asarray(logits, dtype=np.float64) / temperature, axis=1)
    ordered_NC = probability_NC if len(classes) == 2 else np.sort(probability_NC, axis=1)
    margin_N = ordered_NC[:, -1] - ordered_NC[:, -2]
    shares = [dict(zip(classes, row, strict=True)) for row in probability_NC.tolist()]
    answers = [classes[at] for at in answers_N.tolist()]
    return list(map(Score, margin_N.tolist(), shares, answers))
