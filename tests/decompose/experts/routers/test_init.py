"""Routers by name, and inputs of any size."""

from __future__ import annotations

import pytest
import torch

from lorkit.decompose.errors import UsageError
from lorkit.decompose.experts.routers import ROUTERS, router_class


@pytest.mark.parametrize("name", ROUTERS)
@pytest.mark.parametrize("size", [(32, 32), (20, 45), (5, 6), (16, 12, 9)], ids=str)
def test_routers_of_any_size_give_64_numbers(name: str, size: tuple[int, ...]) -> None:
    router = router_class(name)((2, *size)).eval()
    x = torch.rand(3, 2, *size)
    hidden = router(x)
    assert hidden.shape == (3, router.width) == (3, 64)
    torch.testing.assert_close(router(x[1:2]), hidden[1:2])  # samples do not depend on each other
    assert not torch.allclose(router(x.flip(-1)), hidden)


def test_an_unknown_router_is_named() -> None:
    with pytest.raises(UsageError, match="router 'x'"):
        router_class("x")
