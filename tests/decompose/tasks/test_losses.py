import pytest
import torch

from lorkit.decompose.tasks.losses import by_region, cross_entropy, softened_kl, total


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
