"""The calibration of the region predictor on validation."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from routed_models import make_routed, routed_images
from small_methods import REGIONS

from lorkit.decompose.data.prepared import PreparedRegion
from lorkit.decompose.evaluation.region_calibration import best_temperature, fit_region_predictor, hidden_numbers
from lorkit.decompose.models.region_predictor import ABSTAIN_BELOW, RegionPredictor
from lorkit.decompose.models.routed import RoutedModel


@pytest.fixture(scope="module")
def fitted() -> tuple[RoutedModel, dict[str, PreparedRegion], dict[str, PreparedRegion], RegionPredictor]:
    _, module = make_routed()
    model = module.live.float().eval()
    train, val = (
        {name: routed_images(name, 60, seed + part) for name, seed in (("a", 0), ("b", 5))} for part in (0, 1)
    )
    for parts in (train, val):  # region b is brighter
        parts["b"] = replace(parts["b"], stored=0.5 + parts["b"].stored / 2)
    return model, train, val, fit_region_predictor(model, train, val)


def test_few_validation_images_are_beyond_the_limit(
    fitted: tuple[RoutedModel, dict[str, PreparedRegion], dict[str, PreparedRegion], RegionPredictor],
) -> None:
    model, train, val, predictor = fitted
    with torch.no_grad():
        seen = torch.cat([predictor(hidden_numbers(model, val[name]).float())[1] for name in REGIONS.names])
        assert float((seen < ABSTAIN_BELOW).float().mean()) <= 0.02
        noise = replace(train["a"], stored=1.0 - train["a"].stored ** 8)
        strange = predictor(hidden_numbers(model, noise).float())[1]
    assert float(strange.mean()) < float(seen.mean())
    assert ((seen >= 0) & (seen <= 1)).all()


def test_the_temperature_undoes_a_scaling_and_never_sharpens() -> None:
    generator = torch.Generator().manual_seed(0)
    logits_NT = 2 * torch.randn(6000, 3, generator=generator, dtype=torch.float64)
    label_N = torch.multinomial(logits_NT.softmax(1), 1, generator=generator)[:, 0]
    by_region = [logits_NT[label_N == index] for index in range(3)]
    assert best_temperature([3 * rows for rows in by_region]) == pytest.approx(3, rel=0.1)
    assert best_temperature([rows / 3 for rows in by_region]) == pytest.approx(1, rel=0.01)


def test_fitting_changes_no_weight(
    fitted: tuple[RoutedModel, dict[str, PreparedRegion], dict[str, PreparedRegion], RegionPredictor],
) -> None:
    model, train, val, predictor = fitted
    before = {name: value.clone() for name, value in model.state_dict().items()}
    again = fit_region_predictor(model, train, val)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in predictor.state_dict().items())
