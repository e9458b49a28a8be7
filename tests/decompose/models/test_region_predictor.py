"""The region predictor against SciPy's Gaussians."""

from __future__ import annotations

import numpy as np
import torch
from scipy.stats import multivariate_normal

from lorkit.decompose.models.region_predictor import ABSTAIN_BELOW, RegionPredictor


def test_the_distance_is_that_of_the_nearest_gaussian() -> None:
    rng = np.random.default_rng(0)
    predictor = RegionPredictor(torch.nn.Linear(3, 2)).double()
    gaussians = []
    for index in range(2):
        mean, root = rng.normal(size=3), np.tril(rng.normal(size=(3, 3))) + 2 * np.eye(3)
        predictor.mean[index] = torch.from_numpy(mean)
        predictor.whiten[index] = torch.from_numpy(np.linalg.inv(root))
        predictor.offset[index] = float(np.linalg.slogdet(root @ root.T)[1])
        gaussians.append(multivariate_normal(mean, root @ root.T))
    x = rng.normal(size=(9, 3))
    expected = np.stack([-2 * one.logpdf(x) - 3 * np.log(2 * np.pi) for one in gaussians]).min(0)
    np.testing.assert_allclose(predictor.distance(torch.from_numpy(x)), expected)


def test_the_confidence_is_one_half_at_the_limit_and_falls_beyond_it() -> None:
    predictor = RegionPredictor(torch.nn.Linear(2, 3))
    predictor.limit.fill_(4.0)
    hidden = torch.tensor([[2.0, 0.0], [0.0, 0.0], [1e4, 0.0]])
    with torch.no_grad():
        probabilities, confidence = predictor(hidden)
    assert confidence[0] == ABSTAIN_BELOW == 0.5
    assert confidence[1] > 0.9
    assert confidence[2] == 0.0
    torch.testing.assert_close(probabilities.sum(1), torch.ones(3))
