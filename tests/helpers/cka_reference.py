"""Drawn features, and CKA by the formulas of its paper, for the tests of the package."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from lorkit.decompose.methods.losses.cka.loss import sides, similarity
from lorkit.decompose.methods.losses.cka.products import Estimator, ProductSpace
from lorkit.decompose.methods.losses.cka.views import View

ESTIMATORS = ("biased", "unbiased")
SPACES = ("gram", "feature")
both = pytest.mark.parametrize("estimator", ESTIMATORS)
all_ways = pytest.mark.parametrize(("estimator", "space"), list(itertools.product(ESTIMATORS, SPACES)))


def draw(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    """Draw normal features."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def related(n: int = 12, p: int = 5, q: int = 7, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Draw two sides that share a part, so that CKA is neither 0 nor 1."""
    x = draw(n, p, seed=seed)
    return x, x @ draw(p, q, seed=seed + 1) + draw(n, q, seed=seed + 2)


def song(k: Tensor, l: Tensor) -> float:  # noqa: E741
    """Return unbiased HSIC of two kernel matrices by the formula of Song et al. (2012), term by term."""
    n = len(k)
    k, l = k - torch.diag(torch.diag(k)), l - torch.diag(torch.diag(l))  # noqa: E741
    one = torch.ones(n, dtype=k.dtype)
    first = torch.trace(k @ l)
    second = (one @ k @ one) * (one @ l @ one) / ((n - 1) * (n - 2))
    third = 2 / (n - 2) * (one @ k @ l @ one)
    return float(first + second - third) / (n * (n - 3))


def hsic(x: Tensor, y: Tensor, estimator: str) -> float:
    """Return HSIC of two sides with linear kernels."""
    n, k, l = len(x), x @ x.T, y @ y.T  # noqa: E741
    if estimator == "unbiased":
        return song(k, l)
    h = torch.eye(n, dtype=x.dtype) - 1 / n
    return float(torch.trace(k @ h @ l @ h)) / (n - 1) ** 2


def reference(x: Tensor, y: Tensor, estimator: str) -> float:
    """Return CKA, which is HSIC over that of each side with itself."""
    return hsic(x, y, estimator) / math.sqrt(hsic(x, x, estimator) * hsic(y, y, estimator))


def cka(
    x: Tensor, y: Tensor, *, estimator: Estimator = "biased", view: View = "gap", space: ProductSpace = "auto"
) -> Tensor:
    """Return the similarity that `CKALoss` is the negative of, however few the samples."""
    return similarity(*sides(x, y, view=view, gather=False), estimator=estimator, space=space).value
