"""A random teacher has the foundation's architecture, statistics of images, probes, and nothing of its knowledge."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from lorkit.decompose.config import Config
from lorkit.decompose.data import read_regions, split_regions
from lorkit.decompose.errors import UsageError
from lorkit.decompose.events import Event, Notice, ignore
from lorkit.decompose.methods import get_method
from lorkit.decompose.methods.probes import features_of, fit_probe
from lorkit.decompose.models.foundation.model import Foundation
from lorkit.decompose.training.foundation import random_teacher as module
from lorkit.decompose.training.foundation.pretraining import with_all_heads
from lorkit.decompose.training.foundation.random_teacher import calibrate_, random_teacher
from lorkit.decompose.training.foundation.resolving import new_foundation
from lorkit.decompose.training.training_data import TrainingData, prepare_training_data


@pytest.fixture
def known(configured: Callable[..., Config], tmp_path: Path) -> tuple[Config, Foundation, TrainingData]:
    """Settings, a foundation with its own head for one region, and data; students and teacher see other images."""
    config = configured(tmp_path, **{"foundation.image": "{size: 20}"})
    samples = read_regions(config)
    data = prepare_training_data(config, samples, split_regions(samples, config.split, seed=0), ignore)
    torch.manual_seed(0)
    foundation = new_foundation(config, data.regions)
    heads = {"chest": "own"}
    foundation = with_all_heads(replace(foundation, heads=heads), data.regions)
    return config, foundation, data


def weights(foundation: Foundation) -> torch.Tensor:
    return torch.cat([value.flatten() for value in foundation.model.backbone.parameters()])


def test_it_has_fresh_weights_that_follow_from_the_seed_alone(known: tuple[Config, Foundation, TrainingData]) -> None:
    config, foundation, data = known
    before = torch.get_rng_state()
    found = random_teacher(config, foundation, data, ignore)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(5)
    again = random_teacher(config, foundation, data, ignore)
    for name, value in found.model.state_dict().items():
        assert torch.equal(value, again.model.state_dict()[name]), name
    other = random_teacher(config.model_copy(update={"seed": 1}), foundation, data, ignore)
    # nor those of a student of the same architecture, which begins with the seed itself
    torch.manual_seed(config.seed)
    student = new_foundation(config, data.regions)
    assert weights(found).shape == weights(foundation).shape
    for one in (foundation, other, student):
        assert not torch.isclose(weights(found), weights(one)).float().mean() > 0.5  # norms begin alike
    assert not found.model.training
    assert found.image == foundation.image


def test_its_statistics_are_those_of_training_images_of_all_regions(
    known: tuple[Config, Foundation, TrainingData],
) -> None:
    config, foundation, data = known
    model = random_teacher(config, foundation, data, ignore).model
    seen = data.for_teacher.train
    images = torch.from_numpy(np.concatenate([part.images for part in seen.values()]))
    assert len(images) <= 64, "one batch, so that the first statistics are exact"
    backbone = model.backbone.double()
    response = backbone.conv1(model.normalise.double()(images.double()))
    channels = response.movedim(1, 0).flatten(1)
    torch.testing.assert_close(backbone.bn1.running_mean.double(), channels.mean(1), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(backbone.bn1.running_var.double(), channels.var(1), rtol=1e-5, atol=1e-6)
    spreads = normed_spreads(model, images.double())
    assert spreads.min() > 0.9
    assert spreads.max() < 1.1
    fresh = new_foundation(config, data.regions).model.eval().double()
    assert normed_spreads(fresh, images.double()).min() < 0.5, "with the initial statistics they are lost"


def normed_spreads(model: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """Standard deviations of what each batch norm returns in eval mode."""
    found: list[torch.Tensor] = []
    norms = [one for one in model.modules() if isinstance(one, nn.BatchNorm2d)]
    hooks = [one.register_forward_hook(lambda _, __, value: found.append(value.std())) for one in norms]
    with torch.no_grad():
        model.backbone(model.normalise(images))
    for hook in hooks:
        hook.remove()
    return torch.stack(found)


def test_statistics_of_several_batches_are_their_mean(
    known: tuple[Config, Foundation, TrainingData], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_BATCH", 8)
    config, _, data = known
    seen = data.for_teacher.train
    model = new_foundation(config, data.regions).model
    momenta = [one.momentum for one in model.modules() if isinstance(one, nn.BatchNorm2d)]
    assert calibrate_(model, seen, 0) == len(momenta)
    assert [one.momentum for one in model.modules() if isinstance(one, nn.BatchNorm2d)] == momenta
    images = torch.from_numpy(np.concatenate([part.images for part in seen.values()]))
    assert len(images) % 8 == 0
    with torch.no_grad():
        mean = model.backbone.conv1(model.normalise(images)).mean((0, 2, 3))
    torch.testing.assert_close(model.backbone.bn1.running_mean, mean, rtol=1e-4, atol=1e-5)


def test_every_region_gets_a_probe_and_the_terms_of_the_foundation(
    known: tuple[Config, Foundation, TrainingData],
) -> None:
    config, foundation, data = known
    heard: list[Event] = []
    found = random_teacher(config, foundation, data, heard.append)
    seen = data.for_teacher
    for name, part in seen.train.items():
        sides = features_of(found.model, part, name), features_of(found.model, seen.val[name], name)
        expected = fit_probe(*sides, len(part.region.classes))
        torch.testing.assert_close(found.model.heads[name].weight, expected.weight)
    # where the foundation's own head teaches logits, the probe does
    assert found.heads == foundation.heads == {"chest": "own", "knee": "probe"}
    method = get_method("lorkd")
    taught = [method.build(config, data.regions, one).taught for one in (foundation, found)]
    assert taught[0] == taught[1] == {"chest"}
    assert "running statistics of 5 layers" in "".join(one.text for one in heard if isinstance(one, Notice))


def test_it_sees_the_training_part_only(known: tuple[Config, Foundation, TrainingData]) -> None:
    config, foundation, data = known
    assert data.teacher is not None
    half = {
        name: {key: part.take(range(len(part) // 2)) for key, part in data.teacher["train"].items()}
        if name == "train"
        else parts
        for name, parts in data.teacher.items()
    }
    whole, less = (random_teacher(config, foundation, one, ignore).model for one in (data, replace(data, teacher=half)))
    assert not torch.equal(whole.backbone.bn1.running_mean, less.backbone.bn1.running_mean)
    assert not torch.equal(whole.heads["knee"].weight, less.heads["knee"].weight)
    assert torch.equal(whole.backbone.conv1.weight, less.backbone.conv1.weight)


def test_the_users_own_network_has_no_random_twin(known: tuple[Config, Foundation, TrainingData]) -> None:
    config, foundation, data = known
    with pytest.raises(UsageError, match="the user's own network"):
        random_teacher(config, replace(foundation, backbone="teacher:0123"), data, ignore)
