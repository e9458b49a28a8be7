"""The encoder of a U-Net as a network of its own, for classes.

Shapes: N images, F channels of the bottleneck.
"""

from __future__ import annotations

import copy
from typing import Any

from torch import Tensor, nn

from lorkit.decompose.models.backbones.stages import Staged
from lorkit.decompose.models.backbones.unets import Architecture


class UNetEncoder(nn.Module):
    """Images to the mean of the bottleneck, without the decoder's weights; other layers have their original names.

    Args:
        network: A headless U-Net, whose layers are shared, not copied; it is not changed.
        architecture: Its architecture.

    Attributes:
        feature_dim: F, the number of features.
        head_name: Name of the module that `attach_head` replaces.
    """

    head_name = "head"

    def __init__(self, network: nn.Module, architecture: Architecture) -> None:
        super().__init__()
        for name, child in _without(network, architecture.decoder).named_children():
            self.add_module(name, child)
        self.head: nn.Module = nn.Identity()
        self.architecture = architecture
        self.feature_dim: int = network.feature_dim  # type: ignore[assignment]

    def forward(self, x: Tensor) -> Tensor:
        """Map images (N, C, *spatial) to features (N, F)."""
        return self.stages().run_stages(x).features

    def stages(self) -> Staged:
        """Return the levels of the encoder."""
        return self.architecture.stages(self).without_decoder(self.head)


def _without(network: nn.Module, names: tuple[str, ...]) -> nn.Module:
    """Return a network with identities in place of some modules; only modules that contain these are copied."""
    copied = {""} | {name[:dot] for name in names for dot, letter in enumerate(name) if letter == "."}
    memo: dict[int, Any] = {id(module): module for name, module in network.named_modules() if name not in copied}
    memo |= {id(network.get_submodule(name)): nn.Identity() for name in names}
    return copy.deepcopy(network, memo)
