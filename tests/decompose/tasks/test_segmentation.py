"""Dice and cross-entropy against plain formulas in float64, and scores of maps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from lorkit.decompose.artifacts.arrays import IGNORED, Floats
from lorkit.decompose.errors import DataError
from lorkit.decompose.metrics.segmentation import dice, overlap_counts
from lorkit.decompose.regions import Region
from lorkit.decompose.tasks import get_task, headline

TASK = get_task("segmentation")
REGION = Region(name="liver", task="segmentation", classes=("liver", "tumour"))


def rows_of(logits: Any, masks: Any) -> Floats:
    """Rows of networks whose grid is that of the images, without surfaces."""
    counts = TASK.score_inputs(logits, masks)
    sizes = np.ones((*counts.shape[:2], 1))
    return np.concatenate([counts, counts, np.full((*counts.shape[:2], 2), np.nan), sizes], axis=-1)


def reference(logits: Tensor, target: Tensor) -> Tensor:
    """Dice of the softmax without background, plus the mean cross-entropy of pixels, of each sample."""
    probability = logits.double().softmax(1)
    truth = torch.nn.functional.one_hot(target, logits.shape[1]).movedim(-1, 1).double()
    axes = tuple(range(2, logits.dim()))
    both = (probability * truth).sum(axes)[:, 1:]
    sizes = (probability.sum(axes) + truth.sum(axes))[:, 1:]
    chosen = torch.gather(probability, 1, target[:, None]).log().flatten(1)
    return (1 - (2 * both + 1e-5) / (sizes + 1e-5)).mean(1) - chosen.mean(1)


@pytest.mark.parametrize("spatial", [(5, 6), (4, 5, 3)])
@pytest.mark.parametrize("channels", [2, 3])
def test_the_loss_and_its_gradient_are_those_of_the_formula(spatial: tuple[int, ...], channels: int) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = (3 * torch.randn(3, channels, *spatial, generator=generator, dtype=torch.float64)).requires_grad_()
    target = torch.randint(0, channels, (3, *spatial), generator=generator)
    target[0] = 0  # a sample without any structure
    found, expected = TASK.loss(logits, target), reference(logits, target)
    torch.testing.assert_close(found, expected)
    gradients = [torch.autograd.grad(value.sum(), logits)[0] for value in (found, expected)]
    torch.testing.assert_close(*gradients)


def test_the_loss_is_float32_under_autocast() -> None:
    logits, target = torch.randn(2, 3, 8, 8), torch.zeros(2, 8, 8, dtype=torch.int64)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = TASK.loss(logits.bfloat16(), target)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, TASK.loss(logits.bfloat16().float(), target))


def test_the_divergence_is_the_mean_over_pixels() -> None:
    student, teacher = torch.randn(2, 3, 4, 5), torch.randn(2, 3, 4, 5)
    pixels = [values.movedim(1, -1).reshape(-1, 3) for values in (student, teacher)]
    expected = get_task("classification").divergence(*pixels, 2.0).view(2, -1).mean(1)
    torch.testing.assert_close(TASK.divergence(student, teacher, 2.0), expected)
    assert TASK.divergence(teacher, teacher, 2.0).abs().max() < 1e-6


@given(st.integers(0, 2**31), st.integers(1, 3))
def test_counts_give_the_dice_of_sets(seed: int, structures: int) -> None:
    rng = np.random.default_rng(seed)
    logits, masks = rng.normal(size=(2, structures + 1, 3, 4)), rng.integers(0, structures + 1, (2, 3, 4))
    found = dice(overlap_counts(logits, masks))
    for sample in range(2):
        for value in range(1, structures + 1):
            one, two = ({*map(tuple, np.argwhere(a == value))} for a in (logits[sample].argmax(0), masks[sample]))
            expected = 2 * len(one & two) / (len(one) + len(two)) if one or two else np.nan
            assert found[sample, value - 1] == pytest.approx(expected, nan_ok=True)


def test_what_no_mask_holds_is_undefined_and_what_one_holds_is_zero() -> None:
    masks = np.zeros((2, 4, 4), int)
    masks[0, :2] = 1
    logits = np.stack([np.eye(3)[mask].transpose(2, 0, 1) for mask in masks])
    found = TASK.scores(REGION, masks, rows_of(logits, masks), ["a", "b"])
    rows = found.per_structure
    assert (rows[0].n, rows[0].defined, rows[0].dice) == (1, 1, 1.0)
    assert (rows[1].n, rows[1].dice, rows[1].ci["dice"]) == (0, None, None)
    assert found.dice is None
    assert found.ci["dice"] is None
    logits[1, 2] += 9  # a structure that is not there is drawn
    assert TASK.scores(REGION, masks, rows_of(logits, masks), ["a", "b"]).dice == pytest.approx(0.5)


def test_scores_have_intervals_over_groups_and_the_headline() -> None:
    rng = np.random.default_rng(0)
    masks = rng.integers(0, 3, (12, 6, 6))
    evidence = rows_of(rng.normal(size=(12, 3, 6, 6)) + np.eye(3)[masks].transpose(0, 3, 1, 2), masks)
    groups = [f"p{index // 2}" for index in range(12)]
    found = TASK.scores(REGION, masks, evidence, groups)
    low, high = found.ci["dice"]
    assert low < found.dice < high
    assert found.dice == pytest.approx(headline(TASK.scores_by_case(REGION, masks, evidence)))
    assert (found.n, found.groups) == (12, 6)
    alone = TASK.scores(REGION, masks, evidence, ["p"] * 12)
    assert alone.ci["dice"] is None, "one patient has no spread"


def test_bad_outputs_and_masks_are_refused() -> None:
    with pytest.raises(DataError, match="NaN"):
        TASK.score_inputs(np.full((1, 3, 2, 2), np.nan), np.zeros((1, 2, 2)))
    with pytest.raises(DataError, match="same size"):
        TASK.score_inputs(np.zeros((1, 3, 2, 2)), np.zeros((1, 3, 3)))


def test_ignored_pixels_count_in_neither_loss_nor_gradient_nor_score() -> None:
    """What lies under ignored pixels changes nothing: the same as leaving them out, in float64."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 6, 5, generator=generator, dtype=torch.float64)
    target = torch.randint(0, 3, (2, 6, 5), generator=generator)
    target[:, 4:] = IGNORED
    one, two = logits.clone().requires_grad_(), logits.clone()
    two[:, :, 4:] = torch.randn(2, 3, 2, 5, generator=generator, dtype=torch.float64) * 9
    two.requires_grad_()
    cut = logits[:, :, :4].clone().requires_grad_()
    for smoothing in (0.0, 0.1):
        losses = [
            TASK.loss(values, wanted, smoothing)
            for values, wanted in ((one, target), (two, target), (cut, target[:, :4]))
        ]
        torch.testing.assert_close(losses[0], losses[2])
        torch.testing.assert_close(losses[1], losses[2])
        gradients = [
            torch.autograd.grad(loss.sum(), values)[0] for loss, values in zip(losses, (one, two, cut), strict=True)
        ]
        torch.testing.assert_close(gradients[0][:, :, :4], gradients[2])
        assert not gradients[1][:, :, 4:].any()
    scores = [TASK.score_inputs(values.detach(), target) for values in (one, two)]
    np.testing.assert_array_equal(scores[0], scores[1])
    np.testing.assert_array_equal(scores[0], TASK.score_inputs(cut.detach(), target[:, :4]))
