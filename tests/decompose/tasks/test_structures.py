"""Structures that may overlap: loss and gradient against plain formulas in float64, decoding and scores."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from lorkit.decompose.artifacts.arrays import IGNORED_BIT
from lorkit.decompose.artifacts.masks import join_structures
from lorkit.decompose.data.preprocessing.decoding import decode
from lorkit.decompose.metrics.segmentation import dice
from lorkit.decompose.regions import Region
from lorkit.decompose.tasks import get_task

TASK = get_task("structures")
REGION = Region(name="liver", task="structures", classes=("liver", "vessel", "tumour"))


def bits_of(there: Any) -> Tensor:
    """(n, S, *spatial) of 0 and 1 to (n, *spatial) int64."""
    return sum(there[:, index].long() << index for index in range(there.shape[1]))


def reference(logits: Tensor, there: Tensor, smoothing: float = 0.0) -> Tensor:
    """Dice of the sigmoids plus the mean binary cross-entropy of pixels and structures, of each sample."""
    share, truth = 1 / (1 + (-logits.double()).exp()), there.double()
    axes = tuple(range(2, logits.dim()))
    both, sizes = (share * truth).sum(axes), share.sum(axes) + truth.sum(axes)
    soft = truth * (1 - smoothing) + smoothing / 2
    entropy = -(soft * share.log() + (1 - soft) * (1 - share).log()).flatten(1).mean(1)
    return (1 - (2 * both + 1e-5) / (sizes + 1e-5)).mean(1) + entropy


@pytest.mark.parametrize("spatial", [(5, 6), (4, 5, 3)])
@pytest.mark.parametrize("structures", [1, 3, 31])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_and_its_gradient_are_those_of_the_formula(
    spatial: tuple[int, ...], structures: int, smoothing: float
) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = (3 * torch.randn(3, structures, *spatial, generator=generator, dtype=torch.float64)).requires_grad_()
    there = torch.randint(0, 2, (3, structures, *spatial), generator=generator)
    there[0] = 0  # a sample without any structure
    found, expected = TASK.loss(logits, bits_of(there), smoothing), reference(logits, there, smoothing)
    torch.testing.assert_close(found, expected)
    gradients = [torch.autograd.grad(value.sum(), logits)[0] for value in (found, expected)]
    torch.testing.assert_close(*gradients)


def test_ignored_pixels_count_in_neither_loss_nor_gradient_nor_score() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 6, 5, generator=generator, dtype=torch.float64).requires_grad_()
    target = torch.randint(0, 8, (2, 6, 5), generator=generator)
    hidden = target.clone()
    hidden[:, 4:] |= IGNORED_BIT
    cut = logits.detach()[:, :, :4].clone().requires_grad_()
    losses = TASK.loss(logits, hidden), TASK.loss(cut, target[:, :4])
    torch.testing.assert_close(*losses)
    gradients = [torch.autograd.grad(loss.sum(), one)[0] for loss, one in zip(losses, (logits, cut), strict=True)]
    torch.testing.assert_close(gradients[0][:, :, :4], gradients[1])
    assert not gradients[0][:, :, 4:].any()
    scores = [TASK.score_inputs(one.detach(), other) for one, other in ((logits, hidden), (cut, target[:, :4]))]
    np.testing.assert_array_equal(*scores)


def test_the_loss_is_float32_under_autocast() -> None:
    logits, target = torch.randn(2, 3, 8, 8), torch.randint(0, 8, (2, 8, 8))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = TASK.loss(logits.bfloat16(), target)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, TASK.loss(logits.bfloat16().float(), target))


def test_the_divergence_is_that_of_a_coin_for_each_pixel_and_structure() -> None:
    student, teacher = torch.randn(2, 3, 4, 5).double(), torch.randn(2, 3, 4, 5).double()
    one, two = (torch.distributions.Bernoulli(logits=side / 2) for side in (teacher, student))
    expected = 4 * torch.distributions.kl_divergence(one, two).flatten(1).mean(1)
    torch.testing.assert_close(TASK.divergence(student, teacher, 2.0), expected)


def test_counts_are_those_of_sets_of_pixels_that_overlap() -> None:
    rng = np.random.default_rng(0)
    logits, there = rng.normal(size=(4, 3, 5, 6)).astype(np.float32), rng.random((4, 3, 5, 6)) < 0.5
    masks = np.stack([join_structures(one) for one in there])
    counts = TASK.score_inputs(logits, masks)
    found = logits > 0
    expected = np.stack([(found & there).sum((2, 3)), found.sum((2, 3)), there.sum((2, 3))], axis=-1)
    np.testing.assert_array_equal(counts, expected)
    np.testing.assert_array_equal(counts, TASK.score_inputs(logits, masks.astype(np.int64)), "targets of a batch")
    np.testing.assert_allclose(dice(counts), 2 * expected[..., 0] / expected[..., 1:].sum(-1))
    for index in range(4):
        np.testing.assert_array_equal(decode(logits[index], exclusive=False), join_structures(found[index]))
    np.testing.assert_allclose(TASK.recalls_by_case(REGION, masks, counts), expected[..., 0] / expected[..., 2])


def test_wrong_outputs_are_empty_masks_for_the_loss_too() -> None:
    masks = np.full((2, 4, 4), 0b101, dtype=np.uint32)
    wrong = TASK.wrong_outputs(REGION, masks, (4, 4))
    assert wrong.shape == (2, 3, 4, 4)
    assert not TASK.answered(REGION, TASK.score_inputs(wrong, masks)).any()
    assert TASK.never_answered(REGION, masks, TASK.score_inputs(wrong, masks)) == ["liver", "tumour"]
    assert TASK.outputs(REGION) == 3
    assert (TASK.exclusive, TASK.dense) == (False, True)
