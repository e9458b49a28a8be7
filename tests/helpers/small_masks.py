"""A U-Net that learns masks of volumes from a wider one, and a batch of them."""

from __future__ import annotations

import torch

from lorkit.decompose.artifacts.arrays import IGNORED
from lorkit.decompose.config import default_config
from lorkit.decompose.data.batches.loader import Batch
from lorkit.decompose.methods import TrainingModule, get_method
from lorkit.decompose.methods.baselines.students import shared_network
from lorkit.decompose.models.foundation.model import Foundation
from lorkit.decompose.regions import Region, RegionSet

MASKS = RegionSet([Region(name="a", classes=("x", "y"), task="segmentation")])


def distilled_volumes(
    method: str, *settings: str, student: str = "dynunet", foundation: str = "unet"
) -> tuple[TrainingModule, Foundation]:
    """Build a student of volumes of 16 voxels a side and its foundation, in float64 and eval mode."""
    small = ("image.size=[16, 16, 16]", "image.channels=1", f"student.backbone={student}")
    own = (f"foundation.backbone={foundation}", *settings)
    config = default_config(overrides=["regions={a: {data: x}}", *small, *own], method=method)
    torch.manual_seed(0)
    model = shared_network(config, foundation, MASKS).double().eval().requires_grad_(False)
    found = Foundation(model=model, backbone=foundation, regions=MASKS, heads={"a": "own"}, image={}, source={})
    return get_method(method).build(config, MASKS, found).double().eval(), found


def masked_volumes() -> Batch:
    """Draw two volumes with masks in which a corner is ignored."""
    generator = torch.Generator().manual_seed(1)
    image = torch.rand(2, 1, 16, 16, 16, generator=generator, dtype=torch.float64)
    label = torch.randint(0, 3, (2, 16, 16, 16), generator=generator)
    label[:, :5, :5] = IGNORED
    zero = torch.zeros(2, dtype=torch.int64)
    return Batch(image=image, label=label, region=zero, sample=torch.arange(2))
