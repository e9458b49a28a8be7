"""The configuration: pydantic models, read from YAML and overridden by options."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lorkit.decompose.lazy import imported_on_use

if TYPE_CHECKING:
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
_HOMES = {
    "AugmentConfig": "training",
    "CacheConfig": "schema",
    "Config": "schema",
    "ExpertConfig": "methods",
    "GraphSource": "regions",
    "ImageConfig": "schema",
    "LoraConfig": "methods",
    "LorkdConfig": "methods",
    "MolaConfig": "methods",
    "RdConfig": "methods",
    "RegionAugment": "regions",
    "RegionConfig": "regions",
    "SplitConfig": "schema",
    "TrainConfig": "training",
    "config_digest": "loading",
    "default_config": "loading",
    "load_config": "loading",
    "resolve_path": "loading",
    "to_yaml": "loading",
    "with_overrides": "loading",
}
__getattr__ = imported_on_use(__name__, _HOMES)
