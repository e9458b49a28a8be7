"""Models that nobody trained with values that matter, and the region predictor of a routed one, in float64."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from lorkit.decompose.experts import factor_parameters
from lorkit.decompose.models.region_predictor import RegionPredictor
from lorkit.decompose.models.routed import RoutedModel


def settled(model: nn.Module) -> nn.Module:
    """Give norms statistics and factors values that matter, in float64 and eval mode."""
    torch.manual_seed(2)
    with torch.no_grad():
        for name, value in (*model.named_parameters(), *model.named_buffers()):
            if name.endswith("running_var"):
                value.uniform_(0.5, 2)
            elif name.endswith(("running_mean", "bias")):
                value.normal_(0, 0.3)
        for value in factor_parameters(model):
            value.normal_(0, 0.3)
    return model.double().eval()


def images(count: int, side: int) -> Tensor:
    return torch.rand(count, 1, side, side, generator=torch.Generator().manual_seed(count), dtype=torch.float64)


def predictor_of(model: RoutedModel) -> RegionPredictor:
    predictor = RegionPredictor(copy.deepcopy(model.region_head)).double()
    torch.manual_seed(4)
    for buffer in (predictor.mean, predictor.whiten, predictor.offset):
        buffer.normal_()
    return predictor
