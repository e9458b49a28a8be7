"""A backbone that is compiled in seconds."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
import torch._inductor.config
from torch import nn

from lorkit.decompose.models.backbones.registry import BACKBONES, Known


class OneLayer(nn.Module):
    """Little enough to compile in seconds, and without statistics of a batch."""

    feature_dim, head_name = 8, "fc"

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.fc = nn.Linear(256, 8), nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(torch.relu(self.layer(x.flatten(1))))


@pytest.fixture
def one_layer(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The backbone `one`, and a compiler that neither probes the CPU nor prepares headers for many kernels."""
    monkeypatch.setitem(BACKBONES, "one", Known(lambda channels, size: OneLayer()))
    quick = {"cpp_cache_precompile_headers": False, "compile_threads": 1, "cpp.vec_isa_ok": True}
    with torch._inductor.config.patch(quick):  # not monkeypatch, which would delete settings that were not read before
        yield
