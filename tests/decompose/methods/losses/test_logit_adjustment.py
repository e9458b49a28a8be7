"""The adjusted cross-entropy against its formula in 64 bits, and what it is for: balanced answers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from lorkit.decompose.config import TrainConfig
from lorkit.decompose.data.batches.loader import Batch
from lorkit.decompose.errors import UsageError
from lorkit.decompose.methods import TrainingModule
from lorkit.decompose.methods.losses.logit_adjustment import (
    adjustment_notices,
    check_adjustment,
    is_adjusted,
    logit_shift,
)
from lorkit.decompose.regions import Region

ONE = Region(name="one", classes=("x", "y"))
NODE = Region(name="node", task="node", classes=("x", "y"))
LABELS = Region(name="labels", task="multilabel", classes=("x", "y"))
MASKS = Region(name="masks", task="segmentation", classes=("background", "x"))


def test_the_shift_is_tau_times_the_logarithm_of_the_share() -> None:
    found = logit_shift([0, 0, 0, 1, -1], 3, 2.0).double()
    expected = 2.0 * torch.log(torch.tensor([3, 1, 1], dtype=torch.float64) / 5)  # a class without a sample has one
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=0)


def test_the_loss_of_a_region_is_the_formula(
    tiny_module: Callable[..., TrainingModule], make_batch: Callable[..., Batch]
) -> None:
    module = tiny_module("mtl").double().eval()
    batch = make_batch(4, 5)
    batch = batch._replace(image=batch.image.double())
    output = module.live(batch.image, batch.region)
    plain = module.task_loss(output, batch)
    share, tau = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64), 1.5
    module.logit_shifts = {"b": tau * share.log()}
    found = module.task_loss(output, batch)
    assert found["a"] == plain["a"]
    logit_NC, label_N = output.logits["b"], batch.label[output.rows["b"]]
    weight_NC = share**tau * logit_NC.exp()
    expected = -(weight_NC.gather(1, label_N[:, None])[:, 0] / weight_NC.sum(1)).log().sum() / len(batch.label)
    torch.testing.assert_close(found["b"], expected)
    torch.testing.assert_close(module.live(batch.image, batch.region).logits["b"], logit_NC)


def test_the_best_constant_logits_favour_no_class() -> None:
    """Of samples that say nothing, the plain loss learns the shares, and the adjusted one with tau 1 forgets them."""
    labels = np.repeat([0, 1, 2], [70, 25, 5])
    logit_C = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([logit_C], max_iter=200, tolerance_grad=1e-10, line_search_fn="strong_wolfe")
    shift_C = logit_shift(labels, 3, 1.0).double()

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy((logit_C + shift_C).expand(100, 3), torch.from_numpy(labels))
        loss.backward()
        return loss

    with torch.no_grad():
        logit_C.copy_(torch.tensor([1.0, -2.0, 0.5]))
    optimizer.step(closure)
    assert logit_C.detach().std() < 1e-6


def test_regions_of_other_tasks_keep_their_loss() -> None:
    train = TrainConfig(logit_adjustment=1)
    assert [is_adjusted(one) for one in (ONE, NODE, LABELS, MASKS)] == [True, True, False, False]
    assert adjustment_notices(TrainConfig(), [LABELS]) == []
    texts = adjustment_notices(train, [ONE, NODE, LABELS, MASKS])
    assert [text.split(":")[0] for text in texts] == [
        "region 'labels' of task multilabel",
        "region 'masks' of task segmentation",
    ]
    for regions in ([LABELS, MASKS, ONE], [NODE]):
        check_adjustment(train, regions)
    check_adjustment(TrainConfig(), [MASKS])
    with pytest.raises(
        UsageError, match=r"^train\.logit_adjustment for regions of task multilabel, segmentation alone"
    ):
        check_adjustment(train, [LABELS, MASKS])
