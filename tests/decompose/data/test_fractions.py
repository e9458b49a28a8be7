from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from lorkit.decompose.config import ImageConfig, RegionConfig, default_config
from lorkit.decompose.data import PreparedRegion, RegionSamples, prepare
from lorkit.decompose.data.fractions import check_fraction, indices_of, take_fraction
from lorkit.decompose.data.preprocessing.recipe import build_recipe
from lorkit.decompose.errors import UsageError
from lorkit.decompose.regions import Region

Make = Callable[..., RegionSamples]


@pytest.fixture
def prepared(make: Make) -> PreparedRegion:
    labels = [0] * 60 + [1] * 6
    samples = make(labels, groups=[f"p{index // 2}" for index in range(66)])
    return prepare(samples, build_recipe(ImageConfig(size=8), RegionConfig(data=("x",))))


def test_whole_groups_of_every_class_are_taken_and_small_fractions_are_nested(prepared: PreparedRegion) -> None:
    before: set[str] = set()
    for fraction, groups in ((0.01, 2), (0.1, 4), (0.5, 17), (1.0, 33)):
        part = take_fraction(prepared, fraction, seed=3)
        assert len(set(part.groups)) == groups
        assert len(part) == 2 * groups
        assert set(part.labels.tolist()) == {0, 1}
        assert before <= set(part.groups)
        assert part.digests == tuple(digest for digest in prepared.digests if digest in set(part.digests))
        before = set(part.groups)


def test_the_seed_decides_which(prepared: PreparedRegion) -> None:
    one, again, other = (take_fraction(prepared, 0.3, seed=seed).groups for seed in (1, 1, 2))
    assert one == again != other
    np.testing.assert_array_equal(take_fraction(prepared, 1.0, seed=1).labels, prepared.labels)


@pytest.mark.parametrize("fraction", [0.0, -1.0, 1.01])
def test_impossible_fractions_are_refused(prepared: PreparedRegion, fraction: float) -> None:
    with pytest.raises(UsageError, match="above 0, at most 1"):
        take_fraction(prepared, fraction, seed=0)


def test_a_fraction_that_loses_a_class_is_refused(make: Make) -> None:
    # every patient has more images of class 0; half of them have one of class 1
    labels = [0, 0, 1, 0, 0, 0] * 10
    samples = make(labels, groups=[f"p{index // 3}" for index in range(60)])
    prepared = prepare(samples, build_recipe(ImageConfig(size=8), RegionConfig(data=("x",))))
    seed = next(seed for seed in range(50) if 1 not in take_fraction(prepared, 0.05, seed=seed).labels)
    with pytest.raises(UsageError, match=f"0.05 with seed {seed} leaves region '.*' without training images of class"):
        check_fraction(prepared, 0.05, seed=seed)
    check_fraction(prepared, 1.0, seed=seed)


def test_fractions_of_labelled_patients_keep_the_rarest_label() -> None:
    count = 60
    labels = np.zeros((count, 2), dtype=np.int64)
    labels[::2, 0], labels[[7, 8, 31, 32], 1] = 1, 1
    ids = tuple(map(str, range(count)))
    config = default_config(overrides=["regions={a: {data: x}}", "image={size: 8, channels: 1}"])
    prepared = PreparedRegion(
        region=Region(name="a", task="multilabel", classes=("x", "y")),
        recipe=build_recipe(config.image, config.regions["a"]),
        stored=np.zeros((count, 1, 8, 8), dtype=np.float32), labels=labels, groups=ids, ids=ids, digests=ids,
    )  # fmt: skip
    some, more = (set(indices_of(prepared, fraction, seed=0)) for fraction in (0.2, 0.5))
    assert some < more
    assert labels[sorted(some), 1].sum() == 1
    check_fraction(prepared, 0.2, seed=0)
    with pytest.raises(UsageError, match="of label 'y'"):
        check_fraction(prepared.take(np.flatnonzero(labels[:, 1] == 0)), 0.5, seed=0)
