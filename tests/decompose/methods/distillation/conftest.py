"""A distilled student of one region, and a batch of that region."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from lorkit.decompose.config import Config, default_config
from lorkit.decompose.data.batches.loader import Batch
from lorkit.decompose.methods import TrainingModule, get_method
from lorkit.decompose.methods.baselines.students import shared_network
from lorkit.decompose.models.foundation.model import Foundation
from lorkit.decompose.regions import Region, RegionSet

ONE = RegionSet([Region(name="a", classes=("x", "y", "z"))])


@pytest.fixture
def make_distilled(tiny: None) -> Callable[..., tuple[Config, TrainingModule, Foundation]]:
    """Build a tiny ResNet under a wider one, in float64 and eval: `make_distilled("kd", "kd.weight=0.5")`."""

    def make(method: str, *settings: str) -> tuple[Config, TrainingModule, Foundation]:
        small = ("image.size=32", "student.backbone=tiny_resnet", "foundation.backbone=tiny_resnet_wide")
        config = default_config(overrides=["regions={a: {data: x}}", *small, *settings], method=method)
        torch.manual_seed(0)
        model = shared_network(config, "tiny_resnet_wide", ONE).double().eval().requires_grad_(False)
        foundation = Foundation(
            model=model, backbone="tiny_resnet_wide", regions=ONE, heads={"a": "probe"}, image={}, source={}
        )
        return config, get_method(method).build(config, ONE, foundation).double().eval(), foundation

    return make


@pytest.fixture
def six_images() -> Batch:
    """Six images of the region, two of each class."""
    image = torch.rand(6, 1, 32, 32, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    region = torch.zeros(6, dtype=torch.int64)
    return Batch(image=image, label=torch.arange(6) % 3, region=region, sample=torch.arange(6))
