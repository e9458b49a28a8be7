"""Activation checkpointing: blocks of the backbone store their inputs and run again in backward.

The second run of a block must compute the same as the first, with the routing of the same rows (a decoder may run on
fewer than the batch has), and must not update running statistics again.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import partial
from types import TracebackType

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from lorkit.decompose.errors import UsageError
from lorkit.decompose.experts.layers import ExpertLayer
from lorkit.decompose.experts.norms.region_norm import RegionNorm

_LISTS = (nn.Sequential, nn.ModuleList)
_SINGLE = (ExpertLayer, RegionNorm)  # one layer each, whatever they hold


@contextmanager
def recomputed(backbone: nn.Module) -> Iterator[None]:
    """Checkpoint the blocks of a backbone inside the context; raise UsageError if it has none."""
    blocks = blocks_of(backbone)
    if not blocks:
        raise UsageError(
            f"train.checkpointing for a {type(backbone).__name__}, which has no list of blocks",
            required="a backbone whose stages are nn.Sequential or nn.ModuleList",
            fix="set train.checkpointing to false",
        )
    for block in blocks:
        contexts = partial(_contexts, block)
        block.forward = partial(checkpoint, block.forward, use_reentrant=False, context_fn=contexts)
    try:
        yield
    finally:
        for block in blocks:
            del block.forward  # restores the method of the class


def blocks_of(module: nn.Module) -> list[nn.Module]:
    """Return the outermost modules of module lists that have layers, in order."""
    found: list[nn.Module] = []
    for child in module.children():
        listed = isinstance(module, _LISTS) and not isinstance(child, _SINGLE)
        if listed and next(child.children(), None) is not None:
            found.append(child)
        elif not isinstance(child, _SINGLE):
            found += blocks_of(child)
    return found


class _Untouched:
    """Run a block on copies of its buffers, with its present routing; reentrant, for every backward through it."""

    def __init__(self, block: nn.Module) -> None:
        self.block = block
        routings = {module.routing for module in block.modules() if isinstance(module, _SINGLE)}
        self._plans = [(routing, routing.plan) for routing in routings if routing.plan is not None]
        self._scopes = ExitStack()
        self._kept: list[tuple[dict[str, Tensor | None], str, Tensor]] = []

    def __enter__(self) -> None:
        for routing, plan in self._plans:
            self._scopes.enter_context(routing.within(plan))
        owners = [module._buffers for module in self.block.modules() if module.training]
        self._kept = [(owner, name, value) for owner in owners for name, value in owner.items() if value is not None]
        for owner, name, value in self._kept:
            owner[name] = value.clone()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._scopes.close()
        for owner, name, value in self._kept:
            owner[name] = value
        self._kept = []


def _contexts(block: nn.Module) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """Return the contexts of the first run of a block and of every later one."""
    return nullcontext(), _Untouched(block)
