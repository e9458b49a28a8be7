"""Pseudo-labels: which classes a teacher may state, and for which images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from lorkit.decompose.config import Config
from lorkit.decompose.config.unlabelled import UnlabelledConfig
from lorkit.decompose.data import read_regions, split_regions
from lorkit.decompose.errors import UsageError
from lorkit.decompose.events import Event, ignore
from lorkit.decompose.methods.baselines.students import shared_network
from lorkit.decompose.models.foundation.model import Foundation
from lorkit.decompose.training.pseudo_labels import with_pseudo_labels
from lorkit.decompose.training.training_data import TrainingData, prepare_training_data


@pytest.fixture
def data(configured: Callable[..., Config], tmp_path: Path) -> TrainingData:
    """Two regions, of which the first has its training images as unlabelled ones too."""
    config = configured(tmp_path)
    samples = read_regions(config)
    found = prepare_training_data(config, samples, split_regions(samples, config.split, seed=0), ignore)
    name, one = next(iter(found.train.items()))
    return replace(found, unlabelled={name: replace(one, labels=np.full(len(one), -1), target_names=())})


def teacher(data: TrainingData, configured: Callable[..., Config], tmp_path: Path) -> Foundation:
    config = configured(tmp_path, **{"student.backbone": "tiny_resnet"})
    torch.manual_seed(0)
    model = shared_network(config, "tiny_resnet", data.regions).eval()
    heads = dict.fromkeys(data.regions.names, "own")
    return Foundation(model=model, backbone="tiny_resnet", regions=data.regions, heads=heads, image={}, source={})


@pytest.mark.usefixtures("tiny")
def test_only_confident_answers_become_labels(
    data: TrainingData, configured: Callable[..., Config], tmp_path: Path
) -> None:
    foundation, told = teacher(data, configured, tmp_path), list[Event]()
    (name,) = data.unlabelled
    images = torch.from_numpy(np.array(data.unlabelled[name].images))
    with torch.no_grad():
        regions = torch.full((len(images),), data.regions.index(name))
        shares = foundation.model(images, regions).logits[name].double().softmax(1)
    best = shares.max(1).values
    least = float(best.sort().values[len(best) // 2 - 1 : len(best) // 2 + 1].mean())  # between two images
    settings = UnlabelledConfig(pseudo_labels=least)
    found = with_pseudo_labels(data, foundation, settings, told.append).unlabelled[name]
    wanted = torch.where(best >= least, shares.argmax(1), -1)
    assert found.labels.tolist() == wanted.tolist()
    assert 0 < (found.labels >= 0).sum() < len(found)
    count = int((found.labels >= 0).sum())
    assert f"{count} of {len(found)} unlabelled images" in str(told[0])
    assert found.digests == data.unlabelled[name].digests


@pytest.mark.usefixtures("tiny")
def test_without_the_setting_nothing_changes(
    data: TrainingData, configured: Callable[..., Config], tmp_path: Path
) -> None:
    foundation = teacher(data, configured, tmp_path)
    assert with_pseudo_labels(data, foundation, UnlabelledConfig(), ignore) is data


@pytest.mark.usefixtures("tiny")
def test_masks_have_no_one_confidence(data: TrainingData, configured: Callable[..., Config], tmp_path: Path) -> None:
    foundation = teacher(data, configured, tmp_path)
    ((name, one),) = data.unlabelled.items()
    masks = replace(data, unlabelled={name: replace(one, region=replace(one.region, task="segmentation"))})
    with pytest.raises(UsageError, match=f"pseudo_labels for region '{name}' of task segmentation"):
        with_pseudo_labels(masks, foundation, UnlabelledConfig(pseudo_labels=0.8), ignore)
