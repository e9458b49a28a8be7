"""What the cache saved is told as it was measured."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from lorkit.decompose.models.backbones.registry import BACKBONES, Known
from lorkit.decompose.models.backbones.resnet import ResNet
from lorkit.decompose.training.feature_cache.statistics import cache_statistics, describe_statistics


class SmallResNet(ResNet):
    """Four stages of one convolution: what rd and drd need of a network, in milliseconds."""

    def __init__(self, channels: int) -> None:
        nn.Module.__init__(self)
        self.conv1, self.bn1 = nn.Conv2d(channels, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8)
        self.relu, self.maxpool, self.avgpool = nn.ReLU(), nn.Identity(), nn.AdaptiveAvgPool2d(1)
        for stage in range(4):
            convolution = nn.Conv2d(8, 8, 3, 1 + stage % 2, 1, bias=False)
            self.add_module(f"layer{stage + 1}", nn.Sequential(convolution, nn.BatchNorm2d(8), nn.ReLU()))
        self.fc: nn.Module = nn.Identity()
        self.feature_dim, self.stages = 8, 4


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BACKBONES, "small", Known(lambda channels, size: SmallResNet(channels)))


@pytest.fixture(autouse=True)
def one_thread() -> Any:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_savings_say_only_what_was_seen() -> None:
    def row(asked: int, read: int, seconds: float) -> dict[str, Any]:
        kept = {"asked": asked, "read": read, "asked_seconds": asked / 10, "read_seconds": 0.1, "kept_bytes": 7}
        return {"phase": "rd-a", "seconds": seconds, "teacher": kept}

    (both,) = cache_statistics([row(10, 0, 4.0), row(5, 5, 3.0), row(0, 10, 1.0), row(0, 10, 3.0)])
    assert (both["asked_epoch_seconds"], both["read_epoch_seconds"], both["speed_up"]) == (4.0, 2.0, 2.0)
    assert both["asked_seconds"] == 1.0
    assert "2.00 times as fast" in describe_statistics(both)
    (reading,) = cache_statistics([row(0, 10, 1.0)])
    assert reading["speed_up"] is None
    assert "the speed-up is unknown" in describe_statistics(reading)
    (asking,) = cache_statistics([row(10, 0, 1.0)])
    assert "no time was saved yet" in describe_statistics(asking)
    assert cache_statistics([{"phase": "rd-a", "seconds": 1.0}]) == []
    assert both["kept_bytes"] == 28
