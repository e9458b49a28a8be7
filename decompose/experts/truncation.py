"""Reduce the rank of a trained expert: truncated SVD of each layer's update, merged into the plain network.

Shapes: O I k as in `algebra`; (H, W) the update as the matrix of its layout, q singular values. The truncated SVD is
the nearest matrix of rank q in the Frobenius norm (Eckart and Young, 1936); its share of the energy is the sum of the q
largest squared singular values over the sum of all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from lorkit.decompose.errors import UsageError
from lorkit.decompose.experts.layers import ExpertLayer, LowRankExperts
from lorkit.decompose.experts.merging import expert_layers


@dataclass(frozen=True, kw_only=True)
class LayerCut:
    """The reduction of one layer's update.

    Attributes:
        layer: Its name.
        rank: Rank before, in the unit of `lorkd.rank`.
        kept_rank: Rank after.
        parameters: Parameters of its factors before.
        kept_parameters: Parameters of factors of the rank after, in the same layout.
        energy: Squared Frobenius norm of the update before.
        kept_energy: The same after.
    """

    layer: str
    rank: int
    kept_rank: int
    parameters: int
    kept_parameters: int
    energy: float
    kept_energy: float

    @property
    def share(self) -> float | None:
        """Remaining share of the energy; None for an update of zeros."""
        return self.kept_energy / self.energy if self.energy else None


def truncate(matrix_HW: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return the nearest matrix of at most `count` singular values, and all singular values, both in float64."""
    left_HK, values_K, right_KW = torch.linalg.svd(matrix_HW.double(), full_matrices=False)
    kept_HW = (left_HK[:, :count] * values_K[:count]) @ right_KW[:count]
    return kept_HW, values_K


@torch.no_grad()
def reduce_(network: nn.Module, model: nn.Module, region: str, rank: int) -> list[LayerCut]:
    """Replace the merged update of a region in its plain network by one of reduced rank, in place.

    One unit of rank is one singular value of the update as a matrix (O, I*k) in layout `conv`. In layout `reshape` it
    is k0 of them, of the (O*k0, I*k/k0) matrix of that layout; as a square kernel that is a rank of up to rank * k0^2.
    Layers of at most that rank are unchanged, bit by bit, and so are depthwise layers.

    Args:
        network: The result of `extract` for the region; layers have the same names as in `model`.
        model: The live network with experts.
        region: Region of the update.
        rank: Highest rank, in units of `lorkd.rank`.

    Returns:
        One entry per layer with low-rank factors.

    Raises:
        UsageError: The rank is below 1, or the region unknown.
    """
    if rank < 1:
        raise UsageError(f"rank {rank}", required="a rank of at least 1", fix="correct it")
    layers = {name: layer for name, layer in expert_layers(model).items() if isinstance(layer, LowRankExperts)}
    return [_reduce_layer(network.get_submodule(name), layer, name, region, rank) for name, layer in layers.items()]


def total(cuts: Sequence[LayerCut]) -> LayerCut:
    """Combine layers: the highest ranks, the sums of parameters and energies."""
    return LayerCut(
        layer="all",
        rank=max(cut.rank for cut in cuts),
        kept_rank=max(cut.kept_rank for cut in cuts),
        parameters=sum(cut.parameters for cut in cuts),
        kept_parameters=sum(cut.kept_parameters for cut in cuts),
        energy=sum(cut.energy for cut in cuts),
        kept_energy=sum(cut.kept_energy for cut in cuts),
    )


def _reduce_layer(plain: nn.Module, layer: ExpertLayer, name: str, region: str, rank: int) -> LayerCut:
    before = layer.config.rank_of(region)
    update, unit = _as_matrix(layer, region)
    height, width = update.shape
    parameters = before * unit * (height + width)
    energy = float(update.double().square().sum())
    cut = LayerCut(
        layer=name,
        rank=before,
        kept_rank=before,
        parameters=parameters,
        kept_parameters=parameters,
        energy=energy,
        kept_energy=energy,
    )
    if rank >= before:
        return cut
    most = min(height, width)  # the number of singular values
    count = min(rank * unit, most)
    cut = replace(cut, kept_rank=rank, kept_parameters=count * (height + width))
    if count == min(before * unit, most):
        return cut
    cut_HW, values_K = truncate(update, count)
    weight, base = plain.weight, layer.base.weight
    assert isinstance(weight, Tensor)
    weight.copy_(base.double() + cut_HW.view(base.shape))  # rounded once, to the type of the weights
    energies_K = values_K.square()
    return replace(cut, energy=float(energies_K.sum()), kept_energy=float(energies_K[:count].sum()))


def _as_matrix(layer: ExpertLayer, region: str) -> tuple[Tensor, int]:
    """Return a region's update as the matrix of its layout, and the singular values per unit of rank."""
    update = layer.delta_weight(region)
    if layer.config.layout == "reshape":
        unit = update.shape[2] if update.dim() > 2 else 1
        return update.reshape(update.shape[0] * unit, -1), unit
    return update.flatten(1), 1
