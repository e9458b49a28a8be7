"""A backbone for the fixtures of exports, and for other processes that read their runs."""

from __future__ import annotations

import torch


class Tiny(torch.nn.Module):
    """A backbone of two layers: tracing a real one costs seconds, and its layers are not what is tested here."""

    feature_dim, head_name = 8, "fc"

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(channels, 8, 3, stride=2, padding=1, bias=False)
        self.norm = torch.nn.BatchNorm2d(8)
        self.fc = torch.nn.Identity()

    def forward(self, x_NCHW: torch.Tensor) -> torch.Tensor:
        return self.fc(torch.relu(self.norm(self.conv(x_NCHW))).mean((2, 3)))
