"""Centred kernel alignment against naive references in float64, its identities, and what must not break it."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lorkit.decompose.cka import CKALoss, CKAMetric, cka, compared, gathered, hsic, viewed
from lorkit.decompose.errors import DataError, UsageError

ESTIMATORS = ["biased", "unbiased"]
SPACES = ["gram", "feature"]


def pair(n: int = 9, p: int = 5, q: int = 7, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return two related sets of features in float64."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, p, generator=generator, dtype=torch.float64)
    mixed = x @ torch.randn(p, q, generator=generator, dtype=torch.float64)
    return x, mixed + torch.randn(n, q, generator=generator, dtype=torch.float64)


def song(x: Tensor, y: Tensor) -> float:
    """HSIC_1 of Song et al. by its three sums."""
    n = len(x)
    k, l = (one @ one.T for one in (x, y))  # noqa: E741
    k, l = (one - torch.diag(torch.diagonal(one)) for one in (k, l))  # noqa: E741
    ones = torch.ones(n, dtype=torch.float64)
    middle = (ones @ k @ ones) * (ones @ l @ ones) / ((n - 1) * (n - 2))
    return float(((k @ l).trace() + middle - 2 * (ones @ k @ l @ ones) / (n - 2)) / (n * (n - 3)))


def loops(x: Tensor, y: Tensor) -> float:
    """HSIC_1 as U-statistic over all ordered quadruples of different samples."""
    n = len(x)
    k, l = (x @ x.T).tolist(), (y @ y.T).tolist()  # noqa: E741
    total = 0.0
    for i, j, a, b in itertools.permutations(range(n), 4):
        total += k[i][j] * (l[i][j] + l[a][b] - 2 * l[i][a])
    return total / (n * (n - 1) * (n - 2) * (n - 3))


def kornblith(x: Tensor, y: Tensor) -> float:
    """Biased CKA from Gram matrices and H, literally."""
    n = len(x)
    h = torch.eye(n, dtype=torch.float64) - 1.0 / n
    k, l = (h @ one @ one.T @ h for one in (x, y))  # noqa: E741
    return float((k * l).sum() / (k.norm() * l.norm()))


def test_values_are_those_of_the_literal_formulas() -> None:
    for n, p, q in ((6, 4, 3), (9, 5, 7), (12, 30, 2)):
        x, y = pair(n, p, q)
        for space in SPACES:
            assert float(cka(x, y, space=space)) == pytest.approx(kornblith(x, y), abs=1e-10)
            wanted = song(x, y) / (song(x, x) * song(y, y)) ** 0.5
            assert float(cka(x, y, estimator="unbiased", space=space)) == pytest.approx(wanted, abs=1e-10)
        values = [float(value) for value in hsic(x, y)]
        assert values == pytest.approx([song(x, y), song(x, x), song(y, y)], rel=1e-10)
    x, y = pair(6, 4, 3)
    assert song(x, y) == pytest.approx(loops(x, y), rel=1e-10)


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("space", SPACES)
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), n=st.integers(5, 12), scale=st.floats(-50, 50).filter(lambda c: abs(c) > 1e-3))
def test_what_changes_nothing(estimator: str, space: str, seed: int, n: int, scale: float) -> None:
    x, y = pair(n, 4, 3, seed)
    how = {"estimator": estimator, "space": space}
    value = float(cka(x, y, **how))
    assert float(cka(x, x, **how)) == pytest.approx(1, abs=1e-9)
    assert float(cka(y, x, **how)) == pytest.approx(value, abs=1e-9)
    generator = torch.Generator().manual_seed(seed)
    turn = torch.linalg.qr(torch.randn(4, 4, generator=generator, dtype=torch.float64))[0]
    order = torch.randperm(n, generator=generator)
    shift = torch.randn(4, generator=generator, dtype=torch.float64)
    for other in (x @ turn, scale * x, x + shift, x[:, [2, 0, 3, 1]], torch.cat([x, torch.zeros(n, 2).double()], 1)):
        assert float(cka(other, y, **how)) == pytest.approx(value, abs=1e-9)
    assert float(cka(x[order], y[order], **how)) == pytest.approx(value, abs=1e-9)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_what_does_change_it(estimator: str) -> None:
    x, y = pair(40, 4, 3)
    value = float(cka(x, y, estimator=estimator))
    skew = torch.diag(torch.tensor([10.0, 1.0, 0.1, 3.0], dtype=torch.float64))
    assert abs(float(cka(x @ skew, y, estimator=estimator)) - value) > 0.05
    assert float(cka(x.flip(0), y, estimator=estimator)) < value - 0.2


def test_the_biased_value_of_independent_features_follows_its_law_and_the_unbiased_one_is_zero() -> None:
    generator = torch.Generator().manual_seed(0)
    for n, p in ((8, 64), (32, 64), (16, 512)):
        draws = [[torch.randn(n, p, generator=generator).double() for _ in range(2)] for _ in range(200)]
        biased = torch.stack([cka(x, y) for x, y in draws]).mean()
        assert float(biased) == pytest.approx(1 / (1 + n / p), rel=0.03)
        unbiased = torch.stack([cka(x, y, estimator="unbiased") for x, y in draws])
        assert abs(float(unbiased.mean())) < 3 * float(unbiased.std()) / 200**0.5
    few = [torch.randn(n, 3, generator=generator).double() for n in (4, 5, 8) for _ in range(300)]
    assert min(float(hsic(x, x)[1]) for x in few) >= 0


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("space", SPACES)
def test_gradients(estimator: str, space: str) -> None:
    x, y = (one.requires_grad_() for one in pair(6, 4, 3))
    assert torch.autograd.gradcheck(lambda a, b: cka(a, b, estimator=estimator, space=space), (x, y))
    (slope,) = torch.autograd.grad(cka(x, y, estimator=estimator, space=space), x)
    assert abs(float((slope * x.detach()).sum())) < 1e-12, "scale has no slope"
    assert float(slope.sum(0).abs().max()) < 1e-12, "a shift has no slope"
    (tenth,) = torch.autograd.grad(cka(10 * x.detach().requires_grad_(), y, estimator=estimator), y)
    (same,) = torch.autograd.grad(cka(x, y, estimator=estimator), y)
    torch.testing.assert_close(tenth, same)


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("scale", [0.0, 1e-30, 1e-12, 1.0, 1e10, 1e12, 1e30])
@pytest.mark.parametrize("mean", [0.0, 1e3])
def test_constant_tiny_and_huge_features_stay_finite(estimator: str, space: str, scale: float, mean: float) -> None:
    x, y = (one.float() for one in pair(8, 6, 5))
    features = ((x + mean) * scale).requires_grad_()
    value = cka(features, y, estimator=estimator, space=space)
    value.backward()
    assert features.grad is not None
    assert torch.isfinite(features.grad).all()
    wanted = float(cka(x.double(), y.double(), estimator=estimator)) if scale else 0.0
    assert value.item() == pytest.approx(wanted, abs=2e-3 if mean else 1e-4)
    if not scale:
        assert not features.grad.any()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_autocast_does_not_reach_it(dtype: torch.dtype) -> None:
    x, y = (one.float() for one in pair(32, 512, 64))
    with torch.autocast("cpu", dtype=dtype):
        value = cka(8 * x, y)
        half = cka((8 * x).to(dtype), y.to(dtype))
    assert value.dtype == half.dtype == torch.float32
    assert float(value) == pytest.approx(float(cka(x, y)), abs=1e-5)
    assert float(half) == pytest.approx(float(cka(x, y)), abs=1e-2)


def test_views() -> None:
    image = torch.randn(3, 4, 5, 6, dtype=torch.float64)
    assert viewed(image, "gap").shape == (3, 4)
    assert viewed(image, "flatten").shape == (3, 120)
    assert viewed(image, "token").shape == (90, 4)
    assert viewed(image, "patch-image").shape == (3, 30, 4)
    torch.testing.assert_close(viewed(image, "token")[31], image[1, :, 0, 1])
    volume, tokens = torch.randn(2, 4, 2, 3, 2), torch.randn(2, 7, 4)
    assert viewed(volume, "token").shape == (24, 4)
    assert viewed(tokens, "gap").shape == (2, 4)
    wide = torch.randn(3, 9, 5, 6, dtype=torch.float64)
    mean = torch.stack([cka(viewed(image, "patch-image")[i], viewed(wide, "patch-image")[i]) for i in range(3)]).mean()
    torch.testing.assert_close(compared(image, wide, view="patch-image"), mean)
    assert 0 <= float(compared(image, torch.randn(3, 9, 2, 2, dtype=torch.float64))) <= 1
    for view in ("token", "patch-image"):
        with pytest.raises(UsageError, match="as many samples"):
            compared(image, torch.randn(3, 9, 2, 2, dtype=torch.float64), view=view)
    with pytest.raises(UsageError, match=r"view 'token' of features of shape \(3, 4\)"):
        viewed(image[:, :, 0, 0], "token")


def test_bad_input_is_refused_in_a_line() -> None:
    x, y = pair(3)
    assert 0 <= float(cka(x, y)) <= 1
    with pytest.raises(DataError, match="alignment of 3 samples; required: 4 or more"):
        cka(x, y, estimator="unbiased")
    with pytest.raises(DataError, match="alignment of 1 samples"):
        cka(x[:1], y[:1])
    with pytest.raises(UsageError, match="estimator 'debiased'"):
        cka(x, y, estimator="debiased")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="as many samples"):
        cka(x, y[:2])
    for value in (float("nan"), float("inf")):
        with pytest.raises(DataError, match="not finite"):
            cka(torch.full((4, 2), value), torch.randn(4, 2))


def test_the_loss_skips_and_counts_what_it_cannot_compute() -> None:
    loss = CKALoss(estimator="unbiased")
    x, y = (one.requires_grad_() for one in pair(3))
    value = loss(x, y)
    value.backward()
    assert (value.item(), loss.skipped) == (0.0, 1)
    assert x.grad is not None
    assert not x.grad.any()
    x, y = pair(9)
    assert float(loss(x, y)) == -float(cka(x, y, estimator="unbiased"))
    assert loss.skipped == 1


def test_the_metric_sums_before_it_divides() -> None:
    x, y = pair(64, 6, 5)
    whole, parts, turned = CKAMetric(), CKAMetric(), CKAMetric()
    whole.update(x, y)
    assert whole.compute() == pytest.approx(float(cka(x, y, estimator="unbiased")), abs=1e-10)
    batches = list(zip(x.split(16), y.split(16), strict=True))
    for one in batches:
        parts.update(*one)
    for one in reversed(batches):
        turned.update(*one)
    assert parts.compute() == pytest.approx(turned.compute(), abs=1e-12)
    mean = sum(float(cka(*one, estimator="unbiased")) for one in batches) / len(batches)
    assert abs(parts.compute() - mean) > 1e-6
    constant = CKAMetric()
    constant.update(torch.ones(8, 2), y[:8])
    assert constant.compute() == 0.0
    with pytest.raises(UsageError, match="no batch"):
        CKAMetric().compute()


def test_ranks_gather_their_samples_and_each_gets_its_own_gradient(tmp_path: Path) -> None:
    context = mp.start_processes(_rank, args=(str(tmp_path),), nprocs=2, join=False, start_method="spawn")
    assert context is not None
    for _ in range(60):
        if context.join(timeout=1):
            break
    else:
        for process in context.processes:
            process.kill()
        pytest.fail("the two processes did not end")
    x, y = (one.requires_grad_() for one in pair(8))
    cka(x, y).backward()
    assert x.grad is not None
    found = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2)]
    # DDP takes the mean over ranks: half of the sum that a rank's rows got from two equal losses
    torch.testing.assert_close(torch.cat([one["slope"] for one in found]) / 2, x.grad)
    assert all("2, 3 samples" in one["refused"] or "3, 2 samples" in one["refused"] for one in found)


def _rank(rank: int, directory: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{directory}/meet", rank=rank, world_size=2)
    x, y = (one[4 * rank : 4 * rank + 4].clone().requires_grad_() for one in pair(8))
    cka(gathered(x), gathered(y)).backward()
    try:
        gathered(x[: 2 + rank])
        refused = ""
    except DataError as error:
        refused = str(error)
    torch.save({"slope": x.grad, "refused": refused}, os.path.join(directory, f"{rank}.pt"))
    dist.destroy_process_group()
