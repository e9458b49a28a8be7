import numpy as np
import pytest
import torch
from scipy.special import expit, softmax

from lorkit.decompose.tasks.losses import (
    by_region,
    cross_entropy,
    dice_loss,
    overlapping_dice_loss,
    softened_kl,
    total,
)


def test_softened_kl_is_the_textbook_formula() -> None:
    generator = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(2, 5, 7, generator=generator)
    temperature = 3.0
    p = torch.softmax(teacher.double() / temperature, 1)
    q = torch.softmax(student.double() / temperature, 1)
    expected = temperature**2 * (p * (p.log() - q.log())).sum(1)
    torch.testing.assert_close(softened_kl(student, teacher, temperature).double(), expected, rtol=1e-4, atol=1e-5)


def test_softened_kl_is_zero_only_for_equal_distributions() -> None:
    logits = torch.tensor([[1.0, 2.0, 3.0]])
    assert softened_kl(logits, logits + 5, 2.0).item() == pytest.approx(0, abs=1e-6)
    assert softened_kl(logits, logits * 2, 2.0).item() > 0.01


def test_bf16_inputs_are_computed_in_float32() -> None:
    assert softened_kl(torch.zeros(1, 3).bfloat16(), torch.zeros(1, 3).bfloat16(), 1.0).dtype == torch.float32
    assert cross_entropy(torch.zeros(1, 3).bfloat16(), torch.zeros(1).long()).dtype == torch.float32


def test_regions_sum_to_the_mean_over_the_batch() -> None:
    value = torch.tensor([1.0, 2.0, 3.0, 6.0])
    terms = {"ce": by_region(value, {"a": torch.tensor([0, 1]), "b": torch.tensor([2, 3])})}
    assert terms["ce"]["a"].item() == pytest.approx(0.75)
    assert total(terms).item() == pytest.approx(value.mean().item())


@pytest.mark.parametrize("spatial", [(5, 4), (3, 4, 2)])
def test_dice_losses_are_one_less_the_mean_dice_of_counted_pixels(spatial: tuple[int, ...]) -> None:
    """By numpy, structure by structure, with the 1e-5 of MONAI's `DiceLoss` above and below."""
    rng = np.random.default_rng(0)
    logit_nK, counted_n = rng.normal(size=(2, 3, *spatial)), rng.random((2, *spatial)) < 0.7
    mask_n, there_nK = rng.integers(0, 3, (2, *spatial)), rng.random((2, 3, *spatial)) < 0.4
    there_nK[1, 2] = False  # a structure that is not there

    def dice(share: np.ndarray, true: np.ndarray) -> float:
        return float((2 * (share * true).sum() + 1e-5) / (share.sum() + true.sum() + 1e-5))

    share_nK = softmax(logit_nK, axis=1)
    one = [np.mean([dice(share_nK[i, k][c], mask_n[i][c] == k) for k in (1, 2)]) for i, c in enumerate(counted_n)]
    tensors = [torch.from_numpy(values) for values in (logit_nK, mask_n, counted_n)]
    np.testing.assert_allclose(dice_loss(*tensors), 1 - np.array(one), rtol=1e-12)
    share_nK = expit(logit_nK)
    two = [np.mean([dice(share_nK[i, k][c], there_nK[i, k][c]) for k in range(3)]) for i, c in enumerate(counted_n)]
    counted_nK = torch.from_numpy(counted_n)[:, None].expand(2, 3, *spatial)
    found = overlapping_dice_loss(tensors[0], torch.from_numpy(there_nK).long(), counted_nK)
    np.testing.assert_allclose(found, 1 - np.array(two), rtol=1e-12)
