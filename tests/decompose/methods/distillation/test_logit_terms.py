"""Terms on logits against their formulas, in float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import zscore

from lorkit.decompose.config.methods import DistConfig, LogitKdConfig
from lorkit.decompose.data.batches.loader import Batch
from lorkit.decompose.errors import UsageError
from lorkit.decompose.methods.distillation.logit_terms import check_logits, correlations, divergence, standardised
from lorkit.decompose.regions import Region
from lorkit.decompose.tasks import get_task

CLASSES = ("x", "y", "z", "w")
TASK = get_task("classification")


def logits(*shape: int, seed: int = 0) -> torch.Tensor:
    return 5 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_standardised_logits_are_z_scores() -> None:
    given = logits(6, 4)
    np.testing.assert_allclose(standardised(given).numpy(), zscore(given.numpy(), axis=1), atol=1e-6)
    pixels = logits(2, 4, 3, 5)
    np.testing.assert_allclose(standardised(pixels).numpy(), zscore(pixels.numpy(), axis=1), atol=1e-6)
    assert torch.isfinite(standardised(torch.ones(2, 4))).all()


def test_a_standardised_divergence_ignores_size_and_offset_of_the_teacher() -> None:
    student, teacher = logits(6, 4), logits(6, 4, seed=1)
    on = LogitKdConfig(temperature=2.0, standardise=True)
    found = divergence(TASK, student, teacher, on)
    p, q = (torch.from_numpy(zscore(side.numpy(), axis=1) / 2).log_softmax(1) for side in (teacher, student))
    torch.testing.assert_close(found, 4 * (p.exp() * (p - q)).sum(1), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(divergence(TASK, student, 30 * teacher + 7, on), found, rtol=1e-5, atol=1e-6)
    off = LogitKdConfig(temperature=2.0)
    assert not torch.allclose(divergence(TASK, student, 30 * teacher, off), divergence(TASK, student, teacher, off))


def test_correlations_are_weighted_and_off_by_weight_zero() -> None:
    student, teacher = logits(6, 4), logits(6, 4, seed=1)
    found = correlations(TASK, student, teacher, DistConfig(inter=0.5, intra=2.0, temperature=3.0))
    p, q = ((side / 3).softmax(1).numpy() for side in (student, teacher))
    rows = np.mean([np.corrcoef(p[n], q[n])[0, 1] for n in range(6)])
    columns = np.mean([np.corrcoef(p[:, k], q[:, k])[0, 1] for k in range(4)])
    assert float(found["inter"]) == pytest.approx(0.5 * 9 * (1 - rows))
    assert float(found["intra"]) == pytest.approx(2.0 * 9 * (1 - columns))
    assert correlations(TASK, student, teacher, DistConfig(inter=0.0, intra=0.0)) == {}
    assert set(correlations(TASK, student, teacher, DistConfig(inter=0.0))) == {"intra"}


@pytest.mark.parametrize(
    ("region", "refused"),
    [
        (Region(name="a", classes=CLASSES), False),
        (Region(name="a", classes=("x", "y")), True),
        (Region(name="a", task="multilabel", classes=CLASSES), True),
        (Region(name="a", task="segmentation", classes=("vessel",)), True),
        (Region(name="a", task="segmentation", classes=("vessel", "disc")), False),
    ],
)
def test_two_standardised_logits_say_nothing(region: Region, refused: bool) -> None:
    check_logits("kd", LogitKdConfig(), region)
    check_logits("kd", LogitKdConfig(standardise=True, weight=0.0), region)
    if refused:
        with pytest.raises(UsageError, match=r"kd\.standardise for region 'a'"):
            check_logits("kd", LogitKdConfig(standardise=True), region)
    else:
        check_logits("kd", LogitKdConfig(standardise=True), region)


@pytest.mark.parametrize("method", ["kd", "rd", "stl-kd"])
def test_methods_use_the_settings(make_distilled: Callable[..., Any], six_images: Batch, method: str) -> None:
    key = {"kd": "kd", "rd": "rd.kd", "stl-kd": "lorkd.logit_kd"}[method]
    found = {}
    for on in ("false", "true"):
        probes = ("lorkd.probe_logits=true",)
        _, module, foundation = make_distilled(method, f"{key}.standardise={on}", *probes)
        answer = module.query_teacher(foundation.model, six_images)
        found[on] = module(six_images, answer)["logit_kd" if method == "stl-kd" else "kd"]["a"]
    assert not torch.isclose(found["false"], found["true"])


@pytest.mark.parametrize(("method", "section"), [("rd", "rd"), ("drd", "rd"), ("stl-kd", "lorkd")])
def test_dist_is_a_term_of_other_methods(
    make_distilled: Callable[..., Any], six_images: Batch, method: str, section: str
) -> None:
    settings = (f"{section}.dist.inter=1", f"{section}.dist.intra=0.5", "lorkd.probe_logits=true")
    _, module, foundation = make_distilled(method, *settings)
    found = module(six_images, module.query_teacher(foundation.model, six_images))
    assert {"inter", "intra"} <= set(found)
    _, plain, _ = make_distilled(method, "lorkd.probe_logits=true")
    assert not {"inter", "intra"} & set(plain(six_images, plain.query_teacher(foundation.model, six_images)))
    if method == "stl-kd":
        student, teacher = (model(six_images.image, "a").logits["a"] for model in (module.live, foundation.model))
        wanted = correlations(TASK, student, teacher, DistConfig(inter=1.0, intra=0.5))
        for term, value in wanted.items():
            torch.testing.assert_close(found[term]["a"], value)


@pytest.mark.parametrize(("method", "terms"), [("kd", {"kd"}), ("rd", {"kd", "cka"}), ("drd", {"kd", "cka"})])
def test_weak_teachers_count_less_if_asked_for(
    make_distilled: Callable[..., Any], six_images: Batch, method: str, terms: set[str]
) -> None:
    section = "kd" if method == "kd" else "rd"
    _, module, foundation = make_distilled(method, f"{section}.kd_by_region=auto")
    answer = module.query_teacher(foundation.model, six_images)
    before = module(six_images, answer)
    module.compare_with_teacher({"a": 0.6}, {"a": 0.5})
    module.validated({"a": 0.7})
    after = module(six_images, answer)
    for term, value in before.items():
        share = 0.5 if term in terms else 1.0
        torch.testing.assert_close(after[term]["a"], share * value["a"], rtol=1e-6, atol=0)


def test_probe_logits_teach_only_if_asked_for(make_distilled: Callable[..., Any], six_images: Batch) -> None:
    for on, wanted in (("false", False), ("true", True)):
        _, module, foundation = make_distilled("stl-kd", f"lorkd.probe_logits={on}")
        found = module(six_images, module.query_teacher(foundation.model, six_images))
        assert ("logit_kd" in found) is wanted
        assert bool(module.notices()) is not wanted
