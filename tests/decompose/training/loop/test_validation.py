from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from lorkit.decompose.data import PreparedRegion
from lorkit.decompose.training.loop.validation import validation_score


def test_the_score_is_the_balanced_accuracy_of_the_regions_own_head(
    make_prepared: Callable[..., PreparedRegion],
) -> None:
    prepared = make_prepared(6)
    answers = np.array([0, 0, 0, 1, 1, 1])  # right for two of three of each class

    def model(image: torch.Tensor, region: str) -> SimpleNamespace:
        rows = [int(np.flatnonzero((prepared.images == one.numpy()).all((1, 2, 3)))[0]) for one in image]
        return SimpleNamespace(logits={region: torch.eye(2)[answers[rows]]})

    found = validation_score(model, prepared, "a", torch.device("cpu"))  # type: ignore[arg-type]
    assert prepared.labels.tolist() == [0, 1, 0, 1, 0, 1]
    assert found == pytest.approx(2 / 3)
