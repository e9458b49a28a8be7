"""The configuration: pydantic models, read from YAML and overridden by options."""

from __future__ import annotations

from lorkit.decompose.config.loading import (
    config_digest,
    default_config,
    load_config,
    resolve_path,
    to_yaml,
    with_overrides,
)
from lorkit.decompose.config.methods import ExpertConfig, LoraConfig, LorkdConfig, MolaConfig, RdConfig
from lorkit.decompose.config.regions import GraphSource, RegionAugment, RegionConfig
from lorkit.decompose.config.schema import CacheConfig, Config, ImageConfig, SplitConfig
from lorkit.decompose.config.training import AugmentConfig, TrainConfig

__all__ = [
    "AugmentConfig",
    "CacheConfig",
    "Config",
    "ExpertConfig",
    "GraphSource",
    "ImageConfig",
    "LoraConfig",
    "LorkdConfig",
    "MolaConfig",
    "RdConfig",
    "RegionAugment",
    "RegionConfig",
    "SplitConfig",
    "TrainConfig",
    "config_digest",
    "default_config",
    "load_config",
    "resolve_path",
    "to_yaml",
    "with_overrides",
]
