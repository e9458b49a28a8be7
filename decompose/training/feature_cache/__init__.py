"""A frozen teacher's features on disk, so that only the first epoch that meets a picture asks the teacher about it.

A space is everything that one teacher answers to one kind of question about pictures prepared in one way; its directory
is named by the digest of all of that, so what was found under other circumstances is never met. In it lie shards:
safetensors named by the digest of their own content, written aside and renamed.
"""

from lorkit.decompose.training.feature_cache.budget import Estimate, early_estimate
from lorkit.decompose.training.feature_cache.cache import FeatureCache
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
    "early_estimate",
    "feature_cache_factory",
    "features_directory",
]
