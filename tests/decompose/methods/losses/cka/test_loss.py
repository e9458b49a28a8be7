"""CKA against naive sums, the formula of Song et al., its invariances and bias; what its loss skips and counts."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from cka_reference import ESTIMATORS, SPACES, all_ways, both, cka, draw, reference, related
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lorkit.decompose.errors import DataError
from lorkit.decompose.methods.losses.cka.loss import CKALoss, similarity


def gradient(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    x = x.detach().clone().requires_grad_()
    return torch.autograd.grad(function(x), x)[0]


@all_ways
def test_features_are_like_themselves_and_order_of_sides_does_not_matter(estimator: Any, space: Any) -> None:
    for n in (5, 12):
        x, y = related(n)
        options = {"estimator": estimator, "space": space}
        assert float(cka(x, x, **options)) == pytest.approx(1, abs=1e-10)
        assert float(cka(x, y, **options)) == pytest.approx(float(cka(y, x, **options)), abs=1e-10)
        narrow = x.float()
        assert float(cka(narrow, narrow, **options)) == pytest.approx(1, abs=1e-5)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    n=st.integers(5, 12),
    p=st.integers(1, 9),
    scale=st.sampled_from([-3.0, -1e-3, 0.5, 1e4]),
    estimator=st.sampled_from(ESTIMATORS),
    space=st.sampled_from(SPACES),
)
def test_invariances(seed: int, n: int, p: int, scale: float, estimator: Any, space: Any) -> None:
    x, y = related(n, p, seed=seed)
    expected = float(cka(x, y, estimator=estimator, space=space))
    rows, columns = (torch.randperm(k, generator=torch.Generator().manual_seed(seed)) for k in (n, p))
    rotation = torch.linalg.qr(draw(p, p, seed=seed + 3))[0]
    same = {
        "rotation": (x @ rotation, y),
        "scale": (scale * x, y),
        "shift": (x + draw(p, seed=seed + 4), y),
        "columns": (x[:, columns], y),
        "padding": (torch.cat([x, torch.zeros(n, 3, dtype=x.dtype)], 1), y),
        "rows": (x[rows], y[rows]),
    }
    for name, (left, right) in same.items():
        assert float(cka(left, right, estimator=estimator, space=space)) == pytest.approx(expected, abs=1e-10), name


@both
def test_what_changes_geometry_changes_the_value(estimator: Any) -> None:
    x = draw(64, 8)
    y = x + 0.3 * draw(64, 8, seed=1)
    before = float(cka(x, y, estimator=estimator))
    stretch = torch.tensor([10.0, *[1.0] * 7], dtype=x.dtype)
    rows = torch.randperm(64, generator=torch.Generator().manual_seed(1))
    for other in (x @ draw(8, 8, seed=9), x * stretch, x[rows]):
        assert abs(float(cka(other, y, estimator=estimator)) - before) > 0.1
    # without centring, positive features of independent samples look alike; without them paired rows do
    independent = cka(draw(64, 32, seed=5).relu(), draw(64, 32, seed=6).relu(), estimator="unbiased")
    assert abs(float(independent)) < 0.1
    if estimator == "unbiased":
        assert abs(float(cka(x[rows], y, estimator=estimator))) < 0.15


@all_ways
@pytest.mark.parametrize(("n", "p", "q"), [(4, 3, 2), (6, 3, 8), (20, 4, 3), (9, 40, 30)])
def test_value_is_that_of_the_formulas(estimator: Any, space: Any, n: int, p: int, q: int) -> None:
    x, y = related(n, p, q)
    shifted = x + 3  # U-centring must not need centred features, and centring must not need them either
    assert float(cka(shifted, y, estimator=estimator, space=space)) == pytest.approx(
        reference(shifted, y, estimator), abs=1e-10
    )


@both
def test_far_from_the_origin_float32_keeps_its_digits(estimator: Any) -> None:
    x, y = related(32, 16, 16)
    far = (x + 1e4 * draw(16, seed=7)).float()
    rounded = far.double()
    expected = reference(rounded - rounded.mean(0), y, estimator)  # uncentred, Song's sums fail even in float64
    assert float(cka(far, y.float(), estimator=estimator)) == pytest.approx(expected, abs=1e-4)


def test_many_features_leave_the_unbiased_value_its_digits_in_float32() -> None:
    x = draw(8, 50_000)
    y = x + draw(8, 50_000, seed=1)
    found = float(cka(x.float(), y.float(), estimator="unbiased"))
    assert found == pytest.approx(reference(x.float().double(), y.float().double(), "unbiased"), abs=1e-4)


@pytest.mark.parametrize("p", [64, 512])
def test_bias_of_the_biased_estimator_follows_its_law(p: int) -> None:
    for n in (8, 32, 128):
        values = [float(cka(draw(n, p, seed=2 * s), draw(n, p, seed=2 * s + 1))) for s in range(8)]
        assert np.mean(values) == pytest.approx(1 / (1 + n / p), rel=0.03)


def test_the_unbiased_estimator_has_mean_zero_for_independent_features() -> None:
    values = [
        float(cka(draw(16, 64, seed=2 * s), draw(16, 64, seed=2 * s + 1), estimator="unbiased")) for s in range(200)
    ]
    assert abs(np.mean(values)) < 3 * np.std(values, ddof=1) / math.sqrt(200)


@all_ways
def test_gradients_are_those_of_finite_differences(estimator: Any, space: Any) -> None:
    x, y = (side.requires_grad_() for side in related(6, 3, 4))
    assert torch.autograd.gradcheck(lambda *pair: cka(*pair, estimator=estimator, space=space), (x, y))


@all_ways
def test_gradient_identities(estimator: Any, space: Any) -> None:
    x, y = related(10, 6, 4)

    def value(side: Tensor) -> Tensor:
        return cka(side, y, estimator=estimator, space=space)

    found = gradient(value, x)
    assert found.abs().max() > 1e-3
    assert float((found * x).sum()) == pytest.approx(0, abs=1e-10)
    assert float(found.sum(0).abs().max()) == pytest.approx(0, abs=1e-10)
    torch.testing.assert_close(gradient(value, 10 * x), found / 10)
    other = "feature" if space == "gram" else "gram"
    torch.testing.assert_close(found, gradient(lambda side: cka(side, y, estimator=estimator, space=other), x))


def test_gradient_is_that_of_the_textbook_formula() -> None:
    x, y = related(10, 6, 4)

    def textbook(side: Tensor) -> Tensor:
        a, b = side - side.mean(0), y - y.mean(0)
        return (b.T @ a).square().sum() / ((a.T @ a).norm() * (b.T @ b).norm())

    torch.testing.assert_close(gradient(lambda side: cka(side, y), x), gradient(textbook, x))


@all_ways
@pytest.mark.parametrize("constant", [0.0, 0.1, -3e4, 1e30])
def test_constant_features_have_value_and_gradient_zero(estimator: Any, space: Any, constant: float) -> None:
    for x in (torch.full((33, 5), constant), torch.full((33, 5), constant) * torch.rand(5)):
        for y in (draw(33, 4, dtype=torch.float32), x):
            value = cka(x, y, estimator=estimator, space=space)
            assert value.item() == 0
            assert not gradient(lambda side, y=y: cka(side, y, estimator=estimator, space=space), x).any()
    y = draw(33, 4, dtype=torch.float32)
    assert not gradient(lambda side: cka(x, side, estimator=estimator, space=space), y).any()


@all_ways
@pytest.mark.parametrize("scale", [1e-12, 1e10, 1e12, 1e30])
def test_scale_leaves_float32_values_and_finite_gradients(estimator: Any, space: Any, scale: float) -> None:
    x, y = (side.float() for side in related(16, 6, 8))

    def value(side: Tensor) -> Tensor:
        return cka(side, y, estimator=estimator, space=space)

    assert float(value(x * scale)) == pytest.approx(float(value(x)), abs=1e-5)
    found = gradient(value, x * scale)
    torch.testing.assert_close(found.double() * scale, gradient(value, x).double(), rtol=1e-3, atol=1e-6)
    assert math.isfinite(float(cka(x * scale, x * scale, estimator=estimator, space=space)))


def test_features_below_what_squares_can_hold_count_as_constant() -> None:
    x, y = (side.float() for side in related())
    assert float(cka(x * 1e-30, y)) == 0
    assert not gradient(lambda side: cka(side, y), x * 1e-30).any()


def test_a_dead_channel_changes_nothing() -> None:
    x, y = (side.float() for side in related(16, 6, 8))
    dead = torch.cat([x, torch.full((16, 2), 1e3) / 3], 1)
    for estimator in ESTIMATORS:
        assert float(cka(dead, y, estimator=estimator)) == pytest.approx(
            float(cka(x, y, estimator=estimator)), abs=1e-5
        )
    assert not gradient(lambda side: cka(side, y), dead)[:, 6:].any()


@all_ways
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_autocast_and_half_features_are_computed_in_float32(estimator: Any, space: Any, dtype: torch.dtype) -> None:
    x, y = (8 * side.to(dtype) for side in related(32, 512, 64))
    expected = cka(x.float(), y.float(), estimator=estimator, space=space)
    with torch.autocast("cpu", dtype=dtype):
        found = cka(x.requires_grad_(), y, estimator=estimator, space=space)
        assert torch.is_autocast_enabled("cpu")
    found.backward()
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(float(expected), abs=1e-3)
    assert x.grad is not None
    assert x.grad.isfinite().all()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@both
def test_autocast_on_cuda(estimator: Any) -> None:
    x, y = (side.half().cuda() for side in related(32, 512, 64))
    with torch.autocast("cuda", dtype=torch.float16):
        found = cka(x, y, estimator=estimator)
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(float(cka(x.double(), y.double(), estimator=estimator)), abs=1e-3)


def test_float64_and_integers() -> None:
    x, y = related()
    assert cka(x, y.float()).dtype == torch.float64
    counts = (10 * x).round()
    assert float(cka(counts.to(torch.int64), y)) == float(cka(counts, y))


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (draw(5, 3), draw(6, 3), "CKA of 5 and 6 samples; required: the same samples"),
        (draw(5), draw(5, 3), r"features of shape \(5,\); required: features \(B, C\)"),
        (draw(5, 0), draw(5, 3), r"features of shape \(5, 0\)"),
        (draw(5, 3).to(torch.complex64), draw(5, 3), "complex64 features; required: real"),
        (draw(5, 3), draw(5, 3).to("meta"), "on cpu and meta; required: one device"),
    ],
)
def test_bad_input_is_one_line(x: Tensor, y: Tensor, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        cka(x, y)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("space", SPACES)
def test_samples_at_equal_distances_have_no_unbiased_value(space: Any) -> None:
    """Their U-centred matrix is 0: what is left of it in float32 is rounding, whose cosine would be any number."""
    x = torch.linalg.qr(draw(6, 6))[0].float().requires_grad_()
    found = similarity(x, draw(6, 4, dtype=torch.float32), estimator="unbiased", space=space)
    found.value.backward()
    assert found.value.item() == 0
    assert x.grad is not None
    assert not x.grad.any()
    assert found.degenerate == 1


@pytest.mark.parametrize(("estimator", "fewest"), [("biased", 2), ("unbiased", 4)])
def test_too_few_samples_are_skipped_and_counted(estimator: Any, fewest: int) -> None:
    loss = CKALoss(estimator=estimator)
    for n in range(fewest):
        x, y = draw(n, 3).requires_grad_(), draw(n, 4, seed=1)
        value = loss(x, y)
        value.backward()  # the graph is whole, for DDP
        assert value.item() == 0
        assert x.grad is not None
        assert not x.grad.any()
    assert loss.skipped == fewest
    assert math.isfinite(float(loss(draw(fewest, 3), draw(fewest, 4, seed=1))))
    assert loss.skipped == fewest


def test_the_loss_is_the_negative_value_and_teaches_both_sides() -> None:
    x, y = (side.requires_grad_() for side in related())
    loss = CKALoss()
    value = loss(x, y)
    assert value.item() == -cka(x, y).item()
    value.backward()
    assert x.grad is not None
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
