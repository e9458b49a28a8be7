"""The stage of each layer of a backbone, found from the gradients of the grids: no list of names by architecture."""

from __future__ import annotations

import torch
from torch import nn

from lorkit.decompose.experts.forecast import on_meta
from lorkit.decompose.models.backbones.stage_adapters import staged
from lorkit.decompose.models.backbones.stages import STAGES


def stages_of_layers(backbone: nn.Module, image_shape: tuple[int, ...]) -> dict[str, int]:
    """Return the stage of every module with parameters of its own: the first whose grid depends on them.

    Modules that no grid depends on, such as the decoder of a U-Net, are of the last stage.

    Args:
        backbone: A network with stages; nothing is computed or changed.
        image_shape: (C, *spatial) of one image.

    Raises:
        UsageError: Its architecture has no known stages.
    """
    copied = on_meta(backbone).requires_grad_(True)
    named = dict(copied.named_parameters())
    found: dict[str, int] = {}
    with torch.enable_grad():  # whatever the caller measures
        outputs = staged(copied).run_stages(torch.empty(2, *image_shape, device="meta"))
        for stage, grid in enumerate(outputs.grids):
            gradients = torch.autograd.grad(grid.sum(), list(named.values()), retain_graph=True, allow_unused=True)
            for name, gradient in zip(named, gradients, strict=True):
                if gradient is not None:
                    found.setdefault(name.rpartition(".")[0], stage)
    modules = dict.fromkeys(name.rpartition(".")[0] for name in named)
    return {name: found.get(name, STAGES - 1) for name in modules}
