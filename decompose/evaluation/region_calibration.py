"""Fit what a routed model says of the region of an image: on training images the regions, on validation the limits.

Shapes: N images, H hidden numbers, T regions.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lorkit.decompose.data.batches.loader import eval_batches
from lorkit.decompose.data.prepared import PreparedRegion
from lorkit.decompose.models.region_predictor import RegionPredictor
from lorkit.decompose.models.routed import RoutedModel

REFUSED = 0.01
"""Share of validation images that are beyond the limit."""
_MOST = 2000
"""Images of a region; more do not change its Gaussian."""
_SHRINKAGE = 1e-2  # of the mean variance, added to every direction: hidden numbers may be constant
_TEMPERATURES = (1.0, 20.0)  # regions that validation separates completely would be sharpened without end


def fit_region_predictor(
    model: RoutedModel, train: Mapping[str, PreparedRegion], val: Mapping[str, PreparedRegion]
) -> RegionPredictor:
    """Fit the region predictor of a trained model; regions count equally, however many images they have.

    Args:
        model: A trained model; it is not changed.
        train: By region, images for the Gaussians.
        val: By region, images for the temperature (least log-loss) and the limit of the confidence.
    """
    names = model.regions.names
    predictor = RegionPredictor(copy.deepcopy(model.region_head)).double().eval()
    for index, name in enumerate(names):
        hidden_NH = hidden_numbers(model, train[name])
        centred_NH = hidden_NH - hidden_NH.mean(0)
        covariance_HH = centred_NH.T @ centred_NH / len(centred_NH)
        floor = _SHRINKAGE * covariance_HH.trace() / len(covariance_HH) + torch.finfo(torch.float32).eps
        covariance_HH = covariance_HH + floor * torch.eye(len(covariance_HH), dtype=torch.float64)
        root_HH = torch.linalg.cholesky(covariance_HH)
        predictor.mean[index] = hidden_NH.mean(0)
        predictor.whiten[index] = torch.linalg.inv(root_HH)
        predictor.offset[index] = 2 * root_HH.diagonal().log().sum()
    hidden = [hidden_numbers(model, val[name]) for name in names]
    with torch.no_grad():
        distance_N = torch.cat([predictor.distance(rows_NH) for rows_NH in hidden]).numpy()
        logits = [predictor.head(rows_NH) for rows_NH in hidden]
    weight_N = np.concatenate([np.full(len(rows), 1.0 / len(rows)) for rows in hidden])
    predictor.limit.fill_(_quantile(distance_N, weight_N, 1.0 - REFUSED))
    predictor.spread.fill_(max(float(np.std(distance_N)), float(np.finfo(np.float32).eps)))
    predictor.temperature.fill_(best_temperature(logits))
    return predictor.float()


@torch.no_grad()
def hidden_numbers(model: RoutedModel, prepared: PreparedRegion, most: int = _MOST) -> Tensor:
    """Return the router's hidden numbers (N, H) in float64 of at most so many images, evenly spaced."""
    step = max(1, -(-len(prepared) // most))
    part = prepared if step == 1 else prepared.take(np.arange(0, len(prepared), step))
    device = model.normalise.mean.device
    training = model.training
    model.eval()
    rows = [model.gate(image.to(device))[0].hidden.double().cpu() for image, _ in eval_batches(part)]
    model.train(training)
    return torch.cat(rows)


def _quantile(values_N: np.ndarray, weights_N: np.ndarray, share: float) -> float:
    """Return the value that `share` of the weight does not exceed."""
    order = np.argsort(values_N)
    below_N = np.cumsum(weights_N[order]) / weights_N.sum()
    return float(values_N[order][min(int(np.searchsorted(below_N, share)), len(order) - 1)])


def best_temperature(logits: list[Tensor]) -> float:
    """Return the temperature, 1 or more, of the least mean log-loss over regions.

    Args:
        logits: Of the images of each region, (N, T).
    """
    from scipy.optimize import minimize_scalar

    def loss(log_temperature: float) -> float:
        scale = float(np.exp(log_temperature))
        losses = [
            F.cross_entropy(rows_NT / scale, torch.full((len(rows_NT),), index)) for index, rows_NT in enumerate(logits)
        ]
        return float(torch.stack(losses).mean())

    low, high = np.log(_TEMPERATURES)
    return float(np.exp(minimize_scalar(loss, bounds=(low, high), method="bounded").x))
