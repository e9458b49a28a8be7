"""A fraction of the patients with labels, and the others without them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lorkit.decompose.config import Config
from lorkit.decompose.data import read_regions, split_regions
from lorkit.decompose.evaluation.comparison.fraction_data import of_fraction
from lorkit.decompose.events import ignore
from lorkit.decompose.training.training_data import TrainingData, prepare_training_data


@pytest.fixture
def data(configured: Callable[..., Config], tmp_path: Path) -> TrainingData:
    config = configured(tmp_path, **{"foundation.image": "{size: 24}"})
    samples = read_regions(config)
    return prepare_training_data(config, samples, split_regions(samples, config.split, seed=0), ignore)


def test_the_rest_of_a_fraction_is_unlabelled(data: TrainingData) -> None:
    found = of_fraction(data, 0.5, seed=3, rest=True)
    for name, whole in data.train.items():
        kept, left = found.train[name], found.unlabelled[name]
        assert sorted(kept.digests + left.digests) == sorted(whole.digests)
        assert not set(kept.groups) & set(left.groups)
        assert (left.labels == -1).all()
        assert left.target_names == ()
        assert found.for_teacher.unlabelled[name].digests == left.digests
        assert found.for_teacher.unlabelled[name].stored.shape[2:] == (24, 24)
        assert found.for_teacher.train[name].digests == kept.digests


def test_without_it_the_other_patients_are_left_out(data: TrainingData) -> None:
    found = of_fraction(data, 0.5, seed=3)
    assert not found.unlabelled
    assert of_fraction(data, 1.0, seed=3, rest=True) is data


def test_the_rest_comes_after_stated_images(data: TrainingData) -> None:
    name = next(iter(data.train))
    own = replace(data.val[name], labels=np.full(len(data.val[name]), -1))
    assert data.teacher is not None
    theirs = {**data.teacher, "unlabelled": {name: replace(data.teacher["val"][name], labels=own.labels)}}
    found = of_fraction(replace(data, unlabelled={name: own}, teacher=theirs), 0.5, seed=3, rest=True)
    assert found.unlabelled[name].digests[: len(own)] == own.digests
    assert len(found.unlabelled[name]) > len(own)
    assert found.for_teacher.unlabelled[name].digests == found.unlabelled[name].digests
