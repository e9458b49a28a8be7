"""Batch norms by region in a mixture: one scale and shift per channel for every sample.

Shapes: N samples, M adapters, C channels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from lorkit.decompose.errors import UsageError
from lorkit.decompose.models.mixtures.gates import Gates
from lorkit.decompose.models.mixtures.layers import GatedLayer


class GatedNorm(GatedLayer):
    """x * scale + shift with the scale and shift of each sample's regions, as batch norms in eval mode compute."""

    scale: Tensor
    shift: Tensor

    def __init__(self, base: nn.Module, ranks: Sequence[int], gates: Gates) -> None:
        super().__init__(base, ranks, gates)
        assert isinstance(base, _BatchNorm)
        spatial = {nn.BatchNorm1d: 0, nn.BatchNorm2d: 2, nn.BatchNorm3d: 3}[type(base)]
        like = next((value for value in (base.weight, base.running_mean) if value is not None), torch.empty(0))
        shape = (len(self.ranks), base.num_features, *(1,) * spatial)
        self.register_buffer("scale", like.new_empty(shape))
        self.register_buffer("shift", like.new_empty(shape))

    def forward(self, x: Tensor) -> Tensor:
        """Map (L, C, *S)."""
        scale, shift = self.gates.rows(self.scale, x), self.gates.rows(self.shift, x)
        if x.dim() > scale.dim():  # BatchNorm1d on (N, C, length)
            scale, shift = scale[..., None], shift[..., None]
        return x * scale + shift

    def load_norms_(self, norms: Sequence[nn.Module], name: str) -> None:
        """Copy the statistics and affine maps of plain norms, one per adapter.

        Raises:
            UsageError: A norm has no running statistics.
        """
        for adapter, norm in enumerate(norms):
            assert isinstance(norm, _BatchNorm)
            if norm.running_mean is None or norm.running_var is None:
                raise UsageError(
                    f"norm '{name}' has no running statistics",
                    required="statistics, since the rows of a mixed batch have none of their own",
                    fix="train with running statistics, or use norm 'shared'",
                )
            scale = (norm.running_var.double() + norm.eps).rsqrt()
            scale = scale if norm.weight is None else scale * norm.weight.double()
            shift = -norm.running_mean.double() * scale
            shift = shift if norm.bias is None else shift + norm.bias.double()
            self.scale[adapter].copy_(scale.view_as(self.scale[adapter]))
            self.shift[adapter].copy_(shift.view_as(self.shift[adapter]))
