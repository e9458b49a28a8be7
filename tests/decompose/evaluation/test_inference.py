from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from lorkit.decompose.data import PreparedRegion
from lorkit.decompose.errors import DataError
from lorkit.decompose.evaluation.inference import collect_score_inputs, predict_logits
from lorkit.decompose.tasks import get_task


class Probe(nn.Module):
    """Two outputs of the mean of each image; counts the images of each call and whether it was in training."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.calls = nn.Parameter(torch.tensor([1.0, -2.0])), []

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        self.calls.append((len(image), self.training))
        return image.mean((1, 2, 3), keepdim=True)[:, 0, 0] * self.weight


def test_modules_and_callables_answer_alike_in_batches(make_prepared: Callable[..., PreparedRegion]) -> None:
    prepared, network = make_prepared(5), Probe().train()
    expected = prepared.images.mean((1, 2, 3))[:, None] * np.array([1, -2], np.float32)
    np.testing.assert_allclose(predict_logits(network, prepared, batch_size=2), expected, rtol=1e-5)
    assert network.calls == [(2, False), (2, False), (1, False)]
    assert network.training, "the mode is put back"
    engine = lambda batch: batch.mean((1, 2, 3))[:, None] * np.array([1, -2], np.float32)  # noqa: E731
    np.testing.assert_allclose(predict_logits(engine, prepared), expected, rtol=1e-5)
    assert predict_logits(network, make_prepared(0)).shape == (0, 2)


def test_what_a_task_scores_by_is_collected_for_every_image(make_prepared: Callable[..., PreparedRegion]) -> None:
    prepared = make_prepared(5)
    found = collect_score_inputs(Probe(), prepared, batch_size=3)
    whole = get_task("classification").score_inputs(predict_logits(Probe(), prepared), prepared.labels)
    np.testing.assert_array_equal(found, whole)
    with pytest.raises(DataError, match="no image of region 'a' to measure on"):
        collect_score_inputs(Probe(), make_prepared(0))
