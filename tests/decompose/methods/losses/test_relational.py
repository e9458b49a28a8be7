"""Relational losses against the papers' formulas, written out sample by sample in float64."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from lorkit.decompose.methods.losses.relational import (
    angle_loss,
    correlation_losses,
    distance_loss,
    pearson,
    similarity_loss,
)

Loss = Callable[[Tensor, Tensor], Tensor]


def draw(samples: int = 6, student: int = 5, teacher: int = 7, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    sides = [torch.randn(samples, width, generator=generator, dtype=torch.float64) for width in (student, teacher)]
    return sides[0].requires_grad_(), sides[1]


def huber(a: Tensor, b: Tensor) -> Tensor:
    gap = (a - b).abs()
    return 0.5 * gap**2 if gap <= 1 else gap - 0.5


def mean(values: list[Tensor]) -> Tensor:
    return torch.stack(values).sum() / len(values)


def by_pairs(x: Tensor, y: Tensor) -> Tensor:
    """Park et al. 2019, eq. 4 to 6."""
    pairs = list(itertools.permutations(range(len(x)), 2))
    length = [{(i, j): ((side[i] - side[j]) ** 2).sum() ** 0.5 for i, j in pairs} for side in (x, y)]
    mu = [mean(list(one.values())) for one in length]
    return mean([huber(length[0][pair] / mu[0], length[1][pair] / mu[1]) for pair in pairs])


def by_triples(x: Tensor, y: Tensor) -> Tensor:
    """Park et al. 2019, eq. 7 to 9."""

    def cosine(side: Tensor, i: int, j: int, k: int) -> Tensor:
        a, b = side[i] - side[j], side[k] - side[j]
        return (a * b).sum() / ((a * a).sum() * (b * b).sum()) ** 0.5

    triples = itertools.permutations(range(len(x)), 3)
    return mean([huber(cosine(x, *triple), cosine(y, *triple)) for triple in triples])


def by_rows(x: Tensor, y: Tensor) -> Tensor:
    """Tung and Mori 2019, eq. 1 to 4."""
    count = len(x)
    total = x.new_zeros(())
    for i in range(count):
        rows = [[(side[i] * side[j]).sum() for j in range(count)] for side in (x, y)]
        norms = [sum((value**2 for value in row), x.new_zeros(())) ** 0.5 for row in rows]
        for j in range(count):
            total = total + (rows[0][j] / norms[0] - rows[1][j] / norms[1]) ** 2
    return total / count**2


def correlation(a: Tensor, b: Tensor) -> Tensor:
    a, b = a - a.sum() / len(a), b - b.sum() / len(b)
    return (a * b).sum() / ((a * a).sum() ** 0.5 * (b * b).sum() ** 0.5)


def by_classes(x: Tensor, y: Tensor) -> Tensor:
    """Huang et al. 2022, eq. 7 to 10, at temperature 2: inter plus three times intra."""
    sides = []
    for side in (x, y):
        e = (side / 2).exp()
        sides.append(e / e.sum(1, keepdim=True))
    inter = mean([1 - correlation(sides[0][i], sides[1][i]) for i in range(len(x))])
    intra = mean([1 - correlation(sides[0][:, j], sides[1][:, j]) for j in range(x.shape[1])])
    return 4 * inter + 3 * 4 * intra


def both(x: Tensor, y: Tensor) -> Tensor:
    inter, intra = correlation_losses(x, y, 2.0)
    return inter + 3 * intra


CASES = [
    pytest.param(distance_loss, by_pairs, 7, id="distance"),
    pytest.param(angle_loss, by_triples, 7, id="angle"),
    pytest.param(similarity_loss, by_rows, 7, id="similarity"),
    pytest.param(both, by_classes, 5, id="correlation"),
]


@pytest.mark.parametrize(("loss", "reference", "teacher"), CASES)
def test_values_and_gradients_are_those_of_the_formula(loss: Loss, reference: Loss, teacher: int) -> None:
    for seed in range(3):
        x, y = draw(teacher=teacher, seed=seed)
        found, expected = loss(x, y), reference(x, y)
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)
        slopes = [torch.autograd.grad(value, x)[0] for value in (found, expected)]
        torch.testing.assert_close(slopes[0], slopes[1], rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize(("loss", "reference", "teacher"), CASES)
def test_equal_sides_cost_nothing_and_narrow_floats_stay_wide(loss: Loss, reference: Loss, teacher: int) -> None:
    del reference
    x, y = draw(teacher=teacher)
    assert abs(float(loss(y, y))) < 1e-12
    with torch.autocast("cpu", dtype=torch.bfloat16):
        narrow = loss(x.float(), y.float())
    assert narrow.dtype == torch.float32
    torch.testing.assert_close(narrow.double(), loss(x, y), rtol=1e-4, atol=1e-6)


def rotation(width: int) -> Tensor:
    generator = torch.Generator().manual_seed(9)
    return torch.linalg.qr(torch.randn(width, width, generator=generator, dtype=torch.float64))[0]


@pytest.mark.parametrize("loss", [distance_loss, angle_loss])
def test_rkd_knows_neither_place_nor_direction_nor_scale(loss: Loss) -> None:
    x, y = draw()
    expected = loss(x, y)
    for moved in (x + 3.0, x @ rotation(5), 1e-3 * x, 1e4 * x @ rotation(5) - 2.0):
        torch.testing.assert_close(loss(moved, y), expected)
    torch.testing.assert_close(loss(x, 7 * y @ rotation(7) + 1.0), expected)
    assert (loss(x * torch.tensor([1.0, 1, 1, 1, 5], dtype=torch.float64), y) - expected).abs() > 1e-3


def test_sp_normalises_rows() -> None:
    x, y = draw()
    expected = similarity_loss(x, y)
    torch.testing.assert_close(similarity_loss(1e5 * x @ rotation(5), y), expected)
    assert (similarity_loss(x + 3.0, y) - expected).abs() > 1e-3, "rows know where zero is"
    grids = torch.randn(6, 3, 2, 2, dtype=torch.float64)
    torch.testing.assert_close(similarity_loss(grids, y), similarity_loss(grids.flatten(1), y))


def test_dist_knows_neither_scale_nor_shift() -> None:
    x, y = draw(teacher=5)
    torch.testing.assert_close(pearson(2.5 * x + 1.0, y), pearson(x, y))
    torch.testing.assert_close(pearson(x, -3 * y), -pearson(x, y))
    for shifted in (x + 3.0, x + torch.arange(6.0, dtype=torch.float64)[:, None]):
        torch.testing.assert_close(correlation_losses(shifted, y), correlation_losses(x, y))


def test_two_classes_have_nothing_to_correlate_within_a_sample() -> None:
    x, y = draw(student=2, teacher=2)
    inter, intra = correlation_losses(x, y)
    assert torch.autograd.grad(inter, x, retain_graph=True)[0].abs().max() < 1e-7
    assert torch.autograd.grad(intra, x)[0].abs().max() > 1e-3


@pytest.mark.parametrize(("loss", "reference", "teacher"), CASES)
@pytest.mark.parametrize("samples", [1, 2])
def test_few_samples_give_a_value_and_a_gradient(loss: Loss, reference: Loss, teacher: int, samples: int) -> None:
    del reference
    x, y = draw(samples, teacher=teacher)
    value = loss(x, y)
    assert value.isfinite()
    assert torch.autograd.grad(value, x)[0].isfinite().all()


@pytest.mark.parametrize(("loss", "reference", "teacher"), CASES)
@pytest.mark.parametrize("scale", [0.0, 1e-25, 1e25])
def test_copies_and_extremes_stay_finite(loss: Loss, reference: Loss, teacher: int, scale: float) -> None:
    del reference
    x, y = draw(teacher=teacher)
    x = (scale * x.detach()[[0, 0, 1, 2, 3, 3]]).float().requires_grad_()
    value = loss(x, y.float())
    assert value.isfinite()
    assert torch.autograd.grad(value, x)[0].isfinite().all()


def test_dist_of_labels_that_do_not_exclude_each_other_takes_sigmoids() -> None:
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(2, 6, 4, generator=generator, dtype=torch.float64)
    p, q = (torch.sigmoid(side / 2).numpy() for side in (x, y))
    inter, intra = correlation_losses(x, y, 2.0, exclusive=False)
    rows = np.mean([1 - np.corrcoef(one, two)[0, 1] for one, two in zip(p, q, strict=True)])
    columns = np.mean([1 - np.corrcoef(one, two)[0, 1] for one, two in zip(p.T, q.T, strict=True)])
    assert (inter.item(), intra.item()) == pytest.approx((4 * rows, 4 * columns))
