"""`fused`: soft gates (N, T) instead of one region per row; all regions' factors in one operation.

By linearity, gating the r channels between the factors equals gated weights per sample, without building them.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor

from lorkit.decompose.experts import algebra
from lorkit.decompose.experts.strategies.base import LayerInputs
from lorkit.decompose.experts.strategies.merged import weight_updates


def run_soft(inputs: LayerInputs, x: Tensor, gates_LT: Tensor) -> Tensor:
    """Compute base(x) + sum over t of gates[:, t] * s_t * update_t(x).

    Args:
        inputs: Factors of all regions of the routing; its rows are not used.
        x: (L, ...).
        gates_LT: (L, T) weights.
    """
    gates_LT = gates_LT.to(torch.promote_types(gates_LT.dtype, inputs.base.weight.dtype))
    y = cast(Tensor, inputs.base(x))
    if inputs.geometry.layout == "reshape":
        # T operations with full-size updates: the layout has no cheaper form
        updates = weight_updates(inputs)
        for t in range(len(inputs.downs)):
            update = algebra.apply(inputs.base, x, updates[t])
            y = y + update * algebra.spread(inputs.base, update, gates_LT[:, t : t + 1])
        return y
    down, up = algebra.stack(inputs.base, list(inputs.downs), list(inputs.ups))
    scales = gates_LT * gates_LT.new_tensor(inputs.scales)
    ranks = torch.tensor([len(one) for one in inputs.downs], device=gates_LT.device)
    return y + algebra.low_rank(inputs.base, x, down, up, scales.repeat_interleave(ranks, 1))
