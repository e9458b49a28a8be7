"""Costs of what a method deploys."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn

from lorkit.decompose.documents.compare import DeployedCosts
from lorkit.decompose.models.cost import count_macs, count_parameters


def deployed_cost(networks: Iterable[nn.Module], shape: tuple[int, ...]) -> DeployedCosts:
    """Return parameters, MACs of an image (C, *spatial) and bytes of the largest of some networks."""
    each = list(networks)
    tensors = [list(network.state_dict().values()) for network in each]
    return DeployedCosts(
        parameters=max(count_parameters(network) for network in each),
        macs=max(count_macs(network, shape) for network in each),
        deployed_bytes=max(sum(value.numel() * value.element_size() for value in values) for values in tensors),
    )
