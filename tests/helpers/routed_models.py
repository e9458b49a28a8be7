"""A routed student that nobody trained, in float64, with updates that matter and gates that differ by sample."""

from __future__ import annotations

import numpy as np
import torch
from small_methods import REGIONS

from lorkit.decompose.config import Config, RegionConfig, default_config
from lorkit.decompose.data.batches.loader import Batch
from lorkit.decompose.data.prepared import PreparedRegion
from lorkit.decompose.data.preprocessing.recipe import build_recipe
from lorkit.decompose.experts import factor_parameters
from lorkit.decompose.methods import get_method
from lorkit.decompose.methods.mola.router import RoutedModule

DATA = "regions={a: {data: x}, b: {data: x}}"


def routed_config(*settings: str, backbone: str = "tiny_resnet") -> Config:
    return default_config(overrides=[DATA, "image.size=32", f"student.backbone={backbone}", *settings])


def make_routed(
    *settings: str, backbone: str = "tiny_resnet", method: str = "mola-router"
) -> tuple[Config, RoutedModule]:
    config = routed_config(*settings, backbone=backbone)
    torch.manual_seed(0)
    module = get_method(method).build(config, REGIONS, None).double()
    assert isinstance(module, RoutedModule)
    with torch.no_grad():  # updates that matter, and gates that differ by sample
        for value in factor_parameters(module.live.backbone):
            value.normal_(0, 0.2)
        module.live.gating.scores.weight.normal_(0, 2.0)
    return config, module


def routed_batch(regions: tuple[int, ...] = (0, 1, 0, 1, 1)) -> Batch:
    generator = torch.Generator().manual_seed(3)
    image = torch.rand(len(regions), 1, 32, 32, generator=generator, dtype=torch.float64)
    region = torch.tensor(regions)
    return Batch(image=image, label=torch.arange(len(regions)) % 2, region=region, sample=torch.arange(len(regions)))


def routed_images(name: str, count: int, seed: int) -> PreparedRegion:
    """Make gray images of one region, all of its first class."""
    images = np.random.default_rng(seed).random((count, 1, 32, 32), dtype=np.float32)
    config = routed_config()
    names = tuple(f"{name}{index}" for index in range(count))
    return PreparedRegion(
        region=REGIONS.get(name),
        recipe=build_recipe(config.image, RegionConfig(data=("x",))),
        stored=images,
        labels=np.zeros(count, np.int64),
        groups=names,
        ids=names,
        digests=names,
    )
