"""What is prepared for the foundation comes from the originals and holds the same samples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lorkit.decompose.config import Config
from lorkit.decompose.data import read_regions, split_regions
from lorkit.decompose.data.batches.loader import BatchLoader
from lorkit.decompose.errors import DataError
from lorkit.decompose.events import ignore
from lorkit.decompose.regions import RegionSet
from lorkit.decompose.training.training import train
from lorkit.decompose.training.training_data import (
    check_images,
    prepare_for_teacher,
    prepare_parts,
    prepare_training_data,
)


def test_teacher_images_come_from_the_originals(configured: Callable[..., Config], tmp_path: Path) -> None:
    config = configured(tmp_path, **{"foundation.image": "{size: 24}"})
    samples = read_regions(config)
    splits = split_regions(samples, config.split, seed=0)
    seen = prepare_for_teacher(config, samples, splits, config.image)
    assert seen is not None
    for name, one in samples.items():
        rows = splits.parts(name)["val"]
        original = np.stack([one.images[int(row)] for row in rows]).astype(np.float32) / 255  # 24 x 24 as written
        np.testing.assert_array_equal(seen["val"][name].stored[:, 0], original)
    assert prepare_for_teacher(configured(tmp_path), samples, splits, config.image) is None


def test_the_foundation_trains_on_and_is_scored_by_its_own_images(
    configured: Callable[..., Config], tmp_path: Path
) -> None:
    config = configured(tmp_path, **{"foundation.image": "{size: 20}"})
    samples = read_regions(config)
    splits = split_regions(samples, config.split, seed=0)
    data = prepare_training_data(config, samples, splits, ignore)
    seen = data.for_teacher
    assert seen.for_teacher is seen
    for name in samples:
        for part, own, theirs in (("train", data.train, seen.train), ("val", data.val, seen.val)):
            assert (own[name].stored.shape[2:], theirs[name].stored.shape[2:]) == ((16, 16), (20, 20))
            wanted = tuple(samples[name].digests[row] for row in splits.parts(name)[part])
            assert own[name].digests == theirs[name].digests == wanted
    alone = prepare_training_data(configured(tmp_path), samples, splits, ignore)
    assert alone.for_teacher is alone


def test_samples_of_both_must_agree(configured: Callable[..., Config], tmp_path: Path) -> None:
    config = configured(tmp_path, **{"foundation.image": "{size: 24}"})
    samples = read_regions(config)
    splits = split_regions(samples, config.split, seed=0)
    parts = prepare_parts(config, samples, splits, config.image)
    seen = prepare_parts(config, samples, splits, config.foundation_image)
    regions = RegionSet(one.region for one in samples.values())
    with pytest.raises(DataError, match="other samples"):
        BatchLoader(parts["train"], regions, batch_size=8, sampling="sqrt", seed=0, augment=None, teacher=seen["val"])


def test_a_plan_refuses_values_that_a_training_would_refuse(configured: Callable[..., Config], tmp_path: Path) -> None:
    config = configured(tmp_path)
    known = dict(np.load(tmp_path / "chest.npz"))
    np.savez(tmp_path / "chest.npz", **{**known, "images": known["images"].astype(np.float32) - 1000})
    with pytest.raises(DataError, match=r"outside \[0, 1\]|window") as dry:
        train(config, out=tmp_path / "runs", dry_run=True)
    with pytest.raises(DataError) as real:
        train(config, out=tmp_path / "runs")
    assert str(dry.value) == str(real.value)


def test_few_images_of_a_large_part_are_prepared(configured: Callable[..., Config], tmp_path: Path) -> None:
    config = configured(tmp_path)
    samples = read_regions(config)
    splits = split_regions(samples, config.split, seed=0)
    asked: list[int] = []

    class Images(Sequence[np.ndarray]):
        def __getitem__(self, row: int) -> np.ndarray:  # type: ignore[override]
            asked.append(row)
            return samples["chest"].images[row]

        def __len__(self) -> int:
            return len(samples["chest"].images)

    check_images(config, {"chest": replace(samples["chest"], images=Images())}, splits)
    parts = splits.parts("chest")
    assert {*parts["val"].tolist()} <= {*asked}
    assert not {*parts["test"].tolist()} & {*asked}
    assert len(asked) <= 128
