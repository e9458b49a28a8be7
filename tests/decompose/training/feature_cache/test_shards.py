from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lorkit.decompose.artifacts import digest_file
from lorkit.decompose.errors import ArtifactError
from lorkit.decompose.models.foundation.teacher import TeacherFeatures
from lorkit.decompose.training.feature_cache.namespaces import FeatureNamespace, cache_key
from lorkit.decompose.training.feature_cache.shards import SUFFIX, Rows, open_shard, write_shard
from lorkit.decompose.training.feature_cache.tensors import layouts_of

VALUES = torch.arange(6.0).view(3, 2)
SPACE = FeatureNamespace(name="space", layout=layouts_of(TeacherFeatures((), VALUES), ["a"], "fp32")["a"])
KEYS = [cache_key("ab" * 32, view) for view in range(3)]


def write(directory: Path) -> Path:
    blocks = [Rows(KEYS[:2], {"features": VALUES[:2]}), Rows(KEYS[2:], {"features": VALUES[2:]})]
    return write_shard(directory, SPACE, blocks)


def test_what_was_written_is_mapped_and_named_by_its_digest(tmp_path: Path) -> None:
    path = write(tmp_path)
    assert digest_file(path).startswith(path.name.removesuffix(SUFFIX))
    found = open_shard(path, SPACE)
    assert found.keys == KEYS
    assert torch.equal(found.tensors["features"], VALUES)
    assert found.bytes == VALUES.nbytes


def test_damage_and_features_of_another_space_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path)
    with pytest.raises(ArtifactError, match="has other features"):
        open_shard(path, FeatureNamespace(name="other", layout=SPACE.layout))
    wider = layouts_of(TeacherFeatures((), torch.zeros(3, 4)), ["a"], "fp32")["a"]
    with pytest.raises(ArtifactError, match="has other features"):
        open_shard(path, FeatureNamespace(name="space", layout=wider))
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(ArtifactError, match="is damaged"):
        open_shard(path, SPACE)
