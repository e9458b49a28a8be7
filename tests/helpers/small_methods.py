"""A foundation that nobody trained, with two regions, and what methods build on it."""

from __future__ import annotations

import importlib.util

import pytest
import torch

from lorkit.decompose.config import Config, default_config
from lorkit.decompose.methods.baselines.students import shared_network
from lorkit.decompose.models.foundation.model import Foundation
from lorkit.decompose.regions import Region, RegionSet

REGIONS = RegionSet([Region(name="a", classes=("x", "y")), Region(name="b", classes=("x", "y", "z"))])
ONE = RegionSet([REGIONS.get("b")])
peft_only = pytest.mark.skipif(importlib.util.find_spec("peft") is None, reason="the extra 'peft' is not installed")


def make_foundation(*settings: str, backbone: str = "shufflenet_v2_x1_0") -> tuple[Config, Foundation]:
    """Make a foundation in float64 that knows region a by a head of its own and b by a probe."""
    small = ("image.size=16", "student.backbone=shufflenet_v2_x1_0", f"foundation.backbone={backbone}")
    config = default_config(overrides=["regions={a: {data: x}, b: {data: x}}", *small, *settings])
    torch.manual_seed(0)
    model = shared_network(config, backbone, REGIONS).double().eval().requires_grad_(False)
    heads = {"a": "own", "b": "probe"}
    return config, Foundation(model=model, backbone=backbone, regions=REGIONS, heads=heads, image={}, source={"x": 1})


def images(count: int = 4) -> torch.Tensor:
    """Draw gray images (N, 1, 16, 16) in float64."""
    return torch.rand(count, 1, 16, 16, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
