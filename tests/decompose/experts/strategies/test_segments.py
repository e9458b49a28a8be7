from __future__ import annotations

import pytest
import torch

from lorkit.decompose.experts.strategies.segments import add_product, multiply, product


def draw(*shape: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(len(shape)))


@pytest.mark.parametrize("counts", [(3, 3), (1, 5)])
def test_each_region_goes_through_its_own_matrix(counts: tuple[int, int]) -> None:
    x, weight, y = draw(6, 4).requires_grad_(), draw(2, 5, 4).requires_grad_(), draw(6, 5).requires_grad_()
    expected = torch.cat([part @ one.T for part, one in zip(x.split(counts), weight, strict=True)])
    equal = counts[0] == counts[1]
    for found, wanted in (
        (multiply(x, weight, counts, equal), expected),
        (add_product(y, x, weight, counts, equal), y + expected),
    ):
        torch.testing.assert_close(found, wanted)
        inputs = [x, weight] if found.grad_fn is None or wanted is expected else [x, weight, y]
        gradients = torch.autograd.grad(found.square().sum(), inputs)
        torch.testing.assert_close(gradients, torch.autograd.grad(wanted.square().sum(), inputs, retain_graph=True))


def test_under_autocast_equal_regions_are_computed_in_its_type_and_float64_stays() -> None:
    x, weight = draw(6, 4, dtype=torch.float32), draw(2, 5, 4, dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        assert multiply(x, weight, (3, 3), True).dtype == torch.bfloat16
        assert multiply(x.double(), weight.double(), (3, 3), True).dtype == torch.float64


@pytest.mark.parametrize("columns", [3, 16, 17])
def test_a_product_of_few_columns_is_the_same_product(columns: int) -> None:
    one, other = draw(2, 20, 5), draw(2, 5, columns)
    torch.testing.assert_close(product(one, other), torch.einsum("tpk,tkm->tpm", one, other))
