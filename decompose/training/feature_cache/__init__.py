"""A frozen teacher's features on disk, so that the teacher runs only in the first epoch with an image.

A namespace has all outputs of one kind of one teacher for images prepared in one way. Its directory is named by the
digest of these circumstances, so that features of others are never used. It contains shards: safetensors named by the
digest of their content, written atomically.
"""

from lorkit.decompose.training.feature_cache.budget import Estimate, plan_features
from lorkit.decompose.training.feature_cache.cache import FeatureCache
from lorkit.decompose.training.feature_cache.memory import memory_cache
from lorkit.decompose.training.feature_cache.opening import (
    FeatureCacheFactory,
    feature_cache_factory,
    features_directory,
)
from lorkit.decompose.training.feature_cache.statistics import cache_statistics

__all__ = [
    "Estimate",
    "FeatureCache",
    "FeatureCacheFactory",
    "cache_statistics",
    "feature_cache_factory",
    "features_directory",
    "memory_cache",
    "plan_features",
]
