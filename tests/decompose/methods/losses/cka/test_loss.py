"""CKA as a loss: its sign, what it skips and counts, and that training on it aligns networks."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from cka_reference import SPACES, draw, related

from lorkit.decompose.errors import DataError
from lorkit.decompose.methods.losses.cka import CKALoss, cka


@pytest.mark.parametrize("space", SPACES)
def test_samples_at_equal_distances_have_no_unbiased_value(space: Any) -> None:
    """Their U-centred matrix is 0: what is left of it in float32 is rounding, whose cosine would be any number."""
    loss = CKALoss(estimator="unbiased", space=space)
    x = torch.linalg.qr(draw(6, 6))[0].float().requires_grad_()
    value = loss(x, draw(6, 4, dtype=torch.float32))
    value.backward()
    assert value.item() == 0
    assert x.grad is not None
    assert not x.grad.any()
    assert loss.degenerate == 1


@pytest.mark.parametrize(("estimator", "fewest"), [("biased", 2), ("unbiased", 4)])
def test_too_few_samples_raise_but_a_loss_skips_and_counts_them(estimator: Any, fewest: int) -> None:
    loss = CKALoss(estimator=estimator)
    for n in range(fewest):
        x, y = draw(n, 3).requires_grad_(), draw(n, 4, seed=1)
        with pytest.raises(DataError, match=rf"{estimator} CKA of {n} samples; required: {fewest} or more; use"):
            cka(x, y, estimator=estimator)
        value = loss(x, y)
        value.backward()  # the graph is whole, for DDP
        assert value.item() == 0
        assert x.grad is not None
        assert not x.grad.any()
    assert loss.skipped == fewest
    assert math.isfinite(float(cka(draw(fewest, 3), draw(fewest, 4, seed=1), estimator=estimator)))


def test_the_loss_is_the_negative_value_and_can_leave_the_target_alone() -> None:
    x, y = (side.requires_grad_() for side in related())
    loss = CKALoss(detach_target=True)
    value = loss(x, y)
    assert value.item() == -cka(x, y).item()
    value.backward()
    assert y.grad is None
    CKALoss()(x, y).backward()
    assert y.grad is not None
    loss(torch.zeros(6, 3), y[:6])
    loss(torch.zeros(6, 3), y[:6])
    assert (loss.degenerate, loss.skipped) == (2, 0)
    assert not loss.state_dict()


def test_training_on_the_loss_brings_networks_together() -> None:
    torch.manual_seed(0)
    x, y = draw(64, 6, dtype=torch.float32), draw(64, 6, dtype=torch.float32)[:, :2]
    student, loss = torch.nn.Linear(6, 3), CKALoss(estimator="unbiased")
    optimizer = torch.optim.Adam(student.parameters(), lr=0.05)
    for _ in range(60):
        optimizer.zero_grad()
        loss(student(x), y).backward()
        optimizer.step()
    assert loss(student(x), y).item() < -0.95
