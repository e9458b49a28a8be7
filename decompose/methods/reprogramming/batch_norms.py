"""Batch norms in passes whose activations are not deployed.

Reprogrammed features pass through the student's later stages. If they changed the running statistics, the deployed
student would be normalised in part by another network's features.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from lorkit.decompose.config.methods import InjectedNorms

_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


class InjectedPassNorms(nn.Module):
    """Runs passes through a network with a policy for its batch norms.

    - `no_update`: statistics of the batch; the running ones do not change.
    - `separate`: statistics of the batch, and separate running ones for these passes.
    - `eval`: the running statistics of the network's own passes.
    - `shared`: as any other pass, as the papers may have done.
    """

    def __init__(self, network: nn.Module, policy: InjectedNorms) -> None:
        super().__init__()
        self.policy = policy
        # in a tuple, so that they are no submodules: they belong to the network
        self._norms = tuple(module for module in network.modules() if isinstance(module, _BatchNorm))
        if policy == "separate":
            for index, norm in enumerate(self._norms):
                for key in _STATISTICS:
                    value = getattr(norm, key)
                    if value is not None:
                        self.register_buffer(f"{index}_{key}", value.clone())

    @contextmanager
    def scope(self) -> Iterator[None]:
        """Apply the policy inside the context."""
        if self.policy == "shared":
            yield
            return
        before = [(norm.training, norm.track_running_stats, dict(norm._buffers)) for norm in self._norms]
        try:
            for index, norm in enumerate(self._norms):
                self._apply_to(index, norm)
            yield
        finally:
            for norm, (training, tracks, buffers) in zip(self._norms, before, strict=True):
                norm.training, norm.track_running_stats = training, tracks
                norm._buffers.update(buffers)

    def _apply_to(self, index: int, norm: _BatchNorm) -> None:
        if self.policy == "eval":
            norm.training = False
        elif self.policy == "no_update":
            # without tracking, a training pass uses batch statistics and updates nothing
            norm.track_running_stats = norm.track_running_stats and not norm.training
        else:
            own = {key: getattr(self, f"{index}_{key}", None) for key in _STATISTICS}
            norm._buffers.update({key: value for key, value in own.items() if key in norm._buffers})
