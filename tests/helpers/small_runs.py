"""Small finished runs with weights that nobody trained, and tiny backbones: for fixtures and for other processes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from small_unets import TINY_UNET
from torch import nn

from lorkit.decompose.artifacts import write_json, write_manifest, write_text
from lorkit.decompose.artifacts.keys import DirectoryKey
from lorkit.decompose.config import Config, load_config, to_yaml
from lorkit.decompose.data import read_regions, split_regions
from lorkit.decompose.experts import expert_layers
from lorkit.decompose.models.backbones.registry import BACKBONES, Known, build_backbone
from lorkit.decompose.models.backbones.resnet import ResNet
from lorkit.decompose.models.backbones.unets import UNETS
from lorkit.decompose.models.backbones.vit import VisionTransformer
from lorkit.decompose.models.foundation.model import Foundation, save_foundation
from lorkit.decompose.models.regional import RegionalModel
from lorkit.decompose.regions import RegionSet
from lorkit.decompose.runs import OUTSIDE, Run, open_run
from lorkit.decompose.runs.live_model import build_model, save_model
from lorkit.decompose.runs.locked_data import RunSplits

REGIONS = {"chest": ("normal", "pneumonia"), "knee": ("none", "mild", "severe")}


def write_data(path: Path, classes: tuple[str, ...], *, count: int = 120, seed: int = 0) -> Path:
    """Write gray images whose brightness tells the class, two a patient."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) // 2 % len(classes)
    level = 60 + 60 * labels[:, None, None]
    images = np.clip(level + rng.normal(0, 20, (count, 24, 24)) + 40 * seed, 0, 255).astype(np.uint8)
    groups = np.array([f"p{index // 2}" for index in range(count)])
    np.savez(path, images=images, labels=labels, label_names=np.array(classes), groups=groups)
    return path


def small_config(directory: Path, *, backbone: str = "tiny", **settings: object) -> Config:
    """Write data of two regions and a configuration over them; `tiny` has to be registered."""
    lines = ["image: {size: 16, channels: 1}", "split: {val: 0.25, test: 0.25}", "regions:"]
    for seed, (name, classes) in enumerate(REGIONS.items()):
        write_data(directory / f"{name}.npz", classes, seed=seed)
        lines.append(f"  {name}: {{data: {name}.npz}}")
    lines += [f"foundation: {{backbone: {backbone}}}", f"student: {{backbone: {backbone}}}"]
    lines += ["train: {epochs: 1, batch_size: 16}"]
    path = directory / "decompose.yaml"
    path.write_text("\n".join(lines), encoding="utf-8")
    return load_config(path, overrides=[f"{key}={value}" for key, value in settings.items()])


def write_run(config: Config, directory: Path) -> Run:
    """Write a run directory as training would, with random weights and settled norms."""
    torch.manual_seed(0)
    samples = read_regions(config)
    regions = RegionSet(one.region for one in samples.values())
    live = build_model(config, regions)
    with torch.no_grad():
        for name, value in live.named_parameters():
            if ".up." in name or "heads" in name:
                value.normal_(0, 0.05)
        for name, value in live.named_buffers():
            if name.endswith("running_mean"):
                value.normal_(0, 0.05)
    assert expert_layers(live) or config.method != "lorkd"
    image = config.image
    backbone = build_backbone(config.foundation.backbone, channels=image.channels, image_size=image.size)
    teacher = RegionalModel(backbone, regions, mean=image.mean, std=image.std)
    foundation = Foundation(
        model=teacher.eval(),
        backbone=config.foundation.backbone,
        regions=regions,
        heads={"chest": "own", "knee": "probe"},
        image=image.model_dump(mode="json"),
    )
    directory.mkdir(parents=True)
    write_text(directory / "config.yaml", to_yaml(config))
    write_json(directory / "regions.json", {"schema_version": 1, "kind": "regions", "regions": regions.to_json()})
    splits, key = split_regions(samples, config.split, seed=config.seed), DirectoryKey(directory.parent, create=True)
    write_json(directory / "splits.json", splits.to_json(samples, key))
    save_model(live, directory)
    (directory / "foundation").mkdir()
    save_foundation(foundation, directory / "foundation", synthetic=regions.synthetic, inputs="foundation")
    write_manifest(directory, "run", synthetic=regions.synthetic, inputs="run", outside=OUTSIDE)
    return open_run(directory)


def mixed_images(run: Run) -> tuple[torch.Tensor, torch.Tensor]:
    """Return a few images of all regions in turn, and their ids."""
    splits = RunSplits(run)
    parts = [splits.part(name, "test").images[:3] for name in run.regions.names]
    region = torch.tensor([0, 1, 1, 0, 0, 1])
    places = [0, 0, 1, 1, 2, 2]
    return torch.from_numpy(np.stack([parts[t][at] for t, at in zip(region.tolist(), places, strict=True)])), region


class TinyBackbone(nn.Module):
    """A stem and two residual blocks of 8 channels: what a backbone has, in milliseconds."""

    feature_dim, head_name = 8, "fc"

    def __init__(self, channels: int, norm: Callable[[int], nn.Module], groups: int = 1) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(channels, 8, 3, 2, 1), norm(8)
        self.blocks = nn.Sequential(*(TinyBlock(norm, groups) for _ in range(2)))
        self.fc: nn.Module = nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.blocks(torch.relu(self.norm(self.stem(x)))).mean((2, 3)))


class TinyBlock(nn.Module):
    def __init__(self, norm: Callable[[int], nn.Module], groups: int) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(8, 8, 3, 1, 1, groups=groups), norm(8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + torch.relu(self.norm(self.conv(x)))


class TinyResNet(ResNet):
    """Four stages of one convolution: what methods need that look at stages, in milliseconds."""

    def __init__(self, channels: int, width: int = 8, dims: int = 2) -> None:
        nn.Module.__init__(self)
        convolution, norm = (nn.Conv2d, nn.BatchNorm2d) if dims == 2 else (nn.Conv3d, nn.BatchNorm3d)
        self.conv1, self.bn1 = convolution(channels, width, 3, 2, 1, bias=False), norm(width)
        self.relu, self.maxpool = nn.ReLU(), nn.Identity()
        self.avgpool = nn.AdaptiveAvgPool2d(1) if dims == 2 else nn.AdaptiveAvgPool3d(1)
        for stage in range(4):
            layer = convolution(width, width, 3, 1 + stage % 2, 1, bias=False)
            self.add_module(f"layer{stage + 1}", nn.Sequential(layer, norm(width), nn.ReLU()))
        self.fc: nn.Module = nn.Identity()
        self.feature_dim, self.stages = width, 4


def tiny_vit(channels: int, size: tuple[int, ...], depth: int = 4) -> VisionTransformer:
    """Return a transformer of a few blocks and twelve features."""
    return VisionTransformer(channels=channels, image_size=size, width=12, heads=2, depth=depth, patch=4)


def register_tiny(put: Callable[[dict[str, Any], str, Any], None]) -> None:
    """Put the tiny backbones into the registries: `tiny_unet` among the U-Nets."""
    put(UNETS, "tiny_unet", TINY_UNET)
    put(BACKBONES, "tiny", Known(lambda channels, size: TinyBackbone(channels, nn.BatchNorm2d)))
    put(BACKBONES, "tiny_depthwise", Known(lambda channels, size: TinyBackbone(channels, nn.BatchNorm2d, groups=8)))
    put(BACKBONES, "tiny_resnet", Known(lambda channels, size: TinyResNet(channels)))
    put(BACKBONES, "tiny_resnet_wide", Known(lambda channels, size: TinyResNet(channels, 12)))
    put(BACKBONES, "tiny_resnet_3d", Known(lambda channels, size: TinyResNet(channels, dims=3), (3,)))
    put(BACKBONES, "tiny_vit", Known(tiny_vit))
    groups = partial(nn.GroupNorm, 2)
    put(BACKBONES, "tiny_groups", Known(lambda channels, size: TinyBackbone(channels, groups)))
