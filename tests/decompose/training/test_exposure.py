"""Steps and images of each region, and equal steps for networks per region."""

from __future__ import annotations

import pytest

from lorkit.decompose.config import Config, default_config
from lorkit.decompose.methods import get_method
from lorkit.decompose.regions import Region, RegionSet
from lorkit.decompose.training.exposure import exposure_of, with_joint_steps
from lorkit.decompose.training.gradient_check import phase_sampler

REGIONS = RegionSet([Region(name=name, classes=("x", "y")) for name in ("large", "small")])
COUNTS = {"large": 320, "small": 20}


def settings(*more: str) -> Config:
    data = "regions={large: {data: x}, small: {data: x}}"
    return default_config(overrides=[data, "train.epochs=3", "train.batch_size=20", *more])


def test_a_joint_training_holds_each_region_in_the_steps_that_have_it() -> None:
    found = exposure_of(get_method("lorkd"), settings(), REGIONS, COUNTS)
    # 340 samples in batches of 20, three epochs; shares follow the square root of the counts: 4 to 1
    assert found["large"].optimiser_steps == found["small"].optimiser_steps == 3 * 17
    assert found["large"].images + found["small"].images == 3 * 17 * 20
    assert found["large"].images == pytest.approx(4 * found["small"].images, rel=0.05)


def test_separate_networks_have_few_steps_unless_they_get_those_of_the_joint_training() -> None:
    config, method = settings(), get_method("stl")
    own = exposure_of(method, config, REGIONS, COUNTS)
    assert (own["large"].optimiser_steps, own["small"].optimiser_steps) == (3 * 16, 3 * 1)
    equal = with_joint_steps(config, method, REGIONS, COUNTS)
    found = exposure_of(method, equal, REGIONS, COUNTS)
    assert {name: one.optimiser_steps for name, one in found.items()} == {"large": 51, "small": 51}
    assert found["small"].images == 51 * 20
    assert equal.train.epochs == config.train.epochs


def test_joint_methods_and_more_stated_steps_are_left_as_they_are() -> None:
    config = settings("train.min_steps=600")
    assert with_joint_steps(config, get_method("mtl"), REGIONS, COUNTS) == config
    assert with_joint_steps(config, get_method("stl"), REGIONS, COUNTS).train.min_steps == 600


def test_two_trainings_count_twice_and_fitting_without_steps_is_none() -> None:
    config = settings()
    twice = exposure_of(get_method("lora-kd"), config, REGIONS, COUNTS)
    once = exposure_of(get_method("kd"), config, REGIONS, COUNTS)
    assert twice["small"].optimiser_steps == 2 * once["small"].optimiser_steps
    assert exposure_of(get_method("linear-probe"), config, REGIONS, COUNTS)["small"].optimiser_steps == 0


@pytest.mark.parametrize("least", [1, 17, 40])
def test_an_epoch_of_more_steps_goes_on_in_the_streams(least: int) -> None:
    sampler = phase_sampler(settings(f"train.min_steps={3 * least}").train, REGIONS, COUNTS)
    assert sampler.steps == max(17, least)
    rows = [batch["small"] for number in range(2) for batch in sampler.epoch(number) if "small" in batch]
    drawn = [int(index) for row in rows for index in row.indices]
    for start in range(0, len(drawn) - len(drawn) % 20, 20):  # each pass has every sample once
        assert sorted(drawn[start : start + 20]) == list(range(20))
