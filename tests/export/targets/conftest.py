"""What targets are built from in their tests: a small convolutional network, its ONNX file and a few images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from lorkit import profiles
from lorkit.decompose.models.deployable import Deployable
from lorkit.export.onnx import to_onnx
from lorkit.export.parity import seeded_inputs
from lorkit.export.targets import MODEL
from lorkit.export.targets.base import Blueprint

CLASSES = ("healthy", "ill", "unclear")
RECIPE = {
    "version": 1,
    "steps": [
        {"op": "intensity", "rule": "dtype"},
        {"op": "resize", "size": [16, 16], "filter": "bilinear"},
        {"op": "channels", "count": 1},
        {"op": "normalise", "mean": [0.5], "std": [0.25]},
    ],
}


def network(channels: int = 1, classes: int = len(CLASSES)) -> Deployable:
    """Two convolutions with batch norms whose statistics are not those of a new network, and a head."""
    torch.manual_seed(0)
    body = nn.Sequential(
        nn.Conv2d(channels, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(),
        nn.Conv2d(8, 16, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, classes),
    )  # fmt: skip
    with torch.no_grad():
        body.train()(torch.randn(64, channels, 16, 16))
    return Deployable(body, mean=[0.5] * channels, std=[0.25] * channels).eval()


@pytest.fixture
def blueprint() -> Callable[..., Blueprint]:
    """Return a function that makes a blueprint of a directory, with its `model.onnx` unless one lies there."""

    def make(
        directory: Path,
        *,
        precision: str = "fp32",
        profile: str = "cpu-generic",
        shape: tuple[int, ...] = (1, 16, 16),
        **info: Any,
    ) -> Blueprint:
        inside = network(shape[0])
        if not (directory / MODEL).exists():
            to_onnx(inside, directory / MODEL, channels=shape[0], size=shape[1:], metadata={"region": "chest"})
        facts = {"region": "chest", "owner": "expert", "task": "classification", "classes": list(CLASSES)}
        facts |= {"outputs": list(CLASSES), "recipe": RECIPE, "synthetic": False}
        return Blueprint(
            directory=directory,
            network=inside,
            precision=precision,
            profile=profiles.load(profile),
            shape=shape,
            info=facts | info,
            images=seeded_inputs(shape, 4) if len(shape) > 1 else np.ones((4, *shape), np.float32),
        )

    return make
