"""timm's batch norms with an activation, as two modules: a plain batch norm, by region or not, and the rest."""

from __future__ import annotations

import copy
from typing import Any, cast

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


def is_activated_norm(module: nn.Module) -> bool:
    """Return whether a module is exactly timm's BatchNormAct2d: a batch norm, then `drop`, then `act`."""
    kind = type(module)
    return (kind.__module__, kind.__name__) == ("timm.layers.norm_act", "BatchNormAct2d")


def split_norm(module: _BatchNorm) -> tuple[_BatchNorm, nn.Sequential | None]:
    """Return copies of a batch norm without its activation, and of what follows it; None if nothing does."""
    norm = cast(Any, copy.deepcopy(module))
    if not is_activated_norm(module):
        return norm, None
    after = nn.Sequential(norm.drop, norm.act)
    part: Any
    for part in after.modules():
        if hasattr(part, "inplace"):
            part.inplace = False  # its input is read again in backward
    del norm.drop, norm.act
    norm.__class__ = nn.BatchNorm2d  # the class that it extends, with the same tensors and settings
    return norm, after


def joined_norm(norm: _BatchNorm, after: nn.Sequential | None, kind: type[nn.Module]) -> nn.Module:
    """Return a copy of both parts as one module of class `kind`, with the same keys as before `split_norm`."""
    whole = cast(Any, copy.deepcopy(norm))
    if after is not None:
        whole.__class__ = kind
        whole.drop, whole.act = copy.deepcopy(after)
    return cast(nn.Module, whole)
