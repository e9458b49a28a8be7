"""Teachers and students whose stages RD and DRD align, with weights that nobody trained."""

from __future__ import annotations

import torch

from lorkit.decompose.config import Config, default_config
from lorkit.decompose.methods import get_method
from lorkit.decompose.methods.baselines.students import shared_network
from lorkit.decompose.methods.reprogramming.base import ReprogrammingModule
from lorkit.decompose.models.foundation.model import Foundation
from lorkit.decompose.regions import Region, RegionSet

MAPS = RegionSet([Region(name="a", classes=("x", "y"), task="segmentation")])


def settings(*overrides: str, student: str, teacher: str, size: str = "[16, 16]") -> Config:
    """Return the configuration of a student and a teacher for one region."""
    names = (f"student.backbone={student}", f"foundation.backbone={teacher}", f"image.size={size}")
    return default_config(overrides=["regions={a: {data: x}}", *names, *overrides])


def make_pair(
    method: str, config: Config, regions: RegionSet = MAPS, dtype: torch.dtype = torch.float64
) -> tuple[ReprogrammingModule, Foundation]:
    """Build the module of a method, and its foundation."""
    torch.manual_seed(0)
    name = config.foundation.backbone
    model = shared_network(config, name, regions).to(dtype).eval()
    foundation = Foundation(model=model, backbone=name, regions=regions, heads={"a": "own"}, image={}, source={})
    module = get_method(method).build(config, regions, foundation).to(dtype)
    assert isinstance(module, ReprogrammingModule)
    return module, foundation
