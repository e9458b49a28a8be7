"""A network by region id as a base and one set of tensors per region: the network takes the tensors as inputs.

Shapes: N images, M adapters, r_m their ranks; a tensor of every region has the same shape, except the classes of a
head.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lorkit.decompose.documents.heads import IMAGE, LOGITS
from lorkit.decompose.errors import UsageError
from lorkit.decompose.experts.algebra import TRANSPOSED
from lorkit.decompose.models.backbones.outputs import with_own_output
from lorkit.decompose.models.mixtures.blocks import BlocksLayer
from lorkit.decompose.models.mixtures.gates import Gates
from lorkit.decompose.models.mixtures.layers import FullLayer, GatedLayer, LowRankLayer, MixedLayer
from lorkit.decompose.models.mixtures.networks import RegionIdNetwork
from lorkit.decompose.models.mixtures.norms import GatedNorm

HEAD = "head"


class AdapterNetwork(nn.Module):
    """The network of one region, whose adapter, norms and head are inputs: images in [0, 1] to logits.

    Args:
        network: Of several regions, whose heads are of one kind.

    Attributes:
        input_names: `image`, and the names of the tensors of a region.
        output_names: `logits`.
        adapters: Of each region the tensors, by name. Factors of lower rank than the highest are padded with zeros.

    Raises:
        UsageError: Some regions have masks and others not.
    """

    output_names: tuple[str, ...] = (LOGITS,)

    def __init__(self, network: RegionIdNetwork) -> None:
        super().__init__()
        if len(set(network.dense)) > 1:
            raise UsageError(
                "one base for regions with masks and others",
                required="heads of one kind, whose weights can be exchanged",
                fix="export the network by region id to target onnx, or single regions",
            )
        self.body = _single(network)
        self.adapters = {name: dict(_tensors(network, at)) for at, name in enumerate(network.heads)}
        self.input_names = (IMAGE, *next(iter(self.adapters.values())))

    def of_head(self, name: str) -> bool:
        """Return whether a tensor is of the head, whose first axis are the outputs."""
        return name.startswith(f"{HEAD}.")

    def outputs_of(self, region: str) -> int:
        """Return the number of outputs of a region, K."""
        return len(next(one for name, one in self.adapters[region].items() if self.of_head(name)))

    def forward(self, image: Tensor, *tensors: Tensor) -> Tensor:
        """Map images (N, C, *spatial) and the tensors of a region to its logits (N, K, *spatial)."""
        given = dict(zip(self.input_names[1:], tensors, strict=True))
        return cast(Tensor, torch.func.functional_call(self.body, given, (image,)))


class _Body(nn.Module):
    def __init__(self, network: RegionIdNetwork, backbone: nn.Module) -> None:
        super().__init__()
        self.normalise, self.backbone = copy.deepcopy(network.normalise), backbone
        self.head = copy.deepcopy(next(iter(network.heads.values())))

    def forward(self, image: Tensor) -> Tensor:
        return cast(Tensor, self.head(self.backbone(self.normalise(image))))


def _single(network: RegionIdNetwork) -> nn.Module:
    """Return the network of the first region, its gated layers with one adapter."""
    backbone = with_own_output(copy.deepcopy(network.backbone), dense=network.dense[0])
    alone = Gates(alone=True)
    for layer in _gated_layers(backbone).values():
        for name, tensor in _of_layer(layer, 0):
            parent, _, key = name.rpartition(".")
            owner = layer.get_submodule(parent)
            if key in owner._parameters:
                owner.register_parameter(key, nn.Parameter(tensor.clone(), requires_grad=False))
            else:
                owner.register_buffer(key, tensor.clone())
        if isinstance(layer, FullLayer):
            del layer.updates[1:]
        layer.gates = alone
    return _Body(network, backbone).eval()


def _tensors(network: RegionIdNetwork, at: int) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors of a region by their names in the body."""
    backbone = with_own_output(network.backbone, dense=network.dense[0])
    for place, layer in _gated_layers(backbone).items():
        for name, tensor in _of_layer(layer, at):
            yield f"backbone.{place}.{name}", tensor
    head = list(network.heads.values())[at]
    for name, value in head.named_parameters():
        yield f"{HEAD}.{name}", value.detach()


def _gated_layers(backbone: nn.Module) -> dict[str, GatedLayer]:
    return {name: layer for name, layer in backbone.named_modules() if isinstance(layer, GatedLayer)}


def _of_layer(layer: GatedLayer, at: int) -> Iterator[tuple[str, Tensor]]:
    """Yield what a layer with a single adapter has in place of its tables and stacked factors."""
    if isinstance(layer, GatedNorm):
        yield from (("scale", layer.scale[at : at + 1]), ("shift", layer.shift[at : at + 1]))
    elif isinstance(layer, MixedLayer):
        yield "table", layer.table.detach()[at : at + 1]
    elif isinstance(layer, FullLayer):
        yield "updates.0.weight", _weight(layer.updates[at])
    else:
        assert isinstance(layer, LowRankLayer | BlocksLayer)
        parts = layer.blocks.parts if isinstance(layer, BlocksLayer) else 1
        counts = [rank * parts for rank in layer.ranks]
        axis = 0 if type(layer.base) in TRANSPOSED else 1  # transposed layers have their inputs first
        yield "down.weight", _of_blocks(_weight(layer.down), counts, at, 0)
        yield "up.weight", _of_blocks(_weight(layer.up), counts, at, axis)


def _of_blocks(weight: Tensor, counts: Sequence[int], at: int, axis: int) -> Tensor:
    """Return the channels of an adapter, which are repeated beside each other for every block along an axis."""
    blocks = weight.unflatten(axis, (weight.shape[axis] // sum(counts), sum(counts)))  # type: ignore[no-untyped-call]
    return _part(blocks, counts, at, axis + 1).flatten(axis, axis + 1)


def _part(weight: Tensor, counts: Sequence[int], at: int, axis: int) -> Tensor:
    """Return the channels of an adapter, padded with zeros to those of the widest."""
    start, count, most = sum(counts[:at]), counts[at], max(counts)
    part = weight.narrow(axis, start, count)
    if count == most:
        return part
    flat = (0, 0) * (weight.dim() - 1 - axis)
    return F.pad(part, (*flat, 0, most - count))


def _weight(layer: nn.Module) -> Tensor:
    return cast(Tensor, layer.weight).detach()
