"""The variance of a mean over seeds and patients: other formulas for it, and how often its interval covers the mean."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import t as student
from scipy.stats import ttest_1samp

from lorkit.decompose.metrics.random_effects import mean_variance

Floats = NDArray[np.float64]


def crossed(
    rng: np.random.Generator, seeds: int, patients: tuple[int, ...], sd: tuple[float, float, float]
) -> list[Floats]:
    """Draw values with standard deviations of seeds (common to all regions), patients and rest; their mean is 0."""
    of_seed = rng.normal(0, sd[0], (seeds, 1))
    return [of_seed + rng.normal(0, sd[1], count) + rng.normal(0, sd[2], (seeds, count)) for count in patients]


@pytest.mark.parametrize("patients", [(7,), (5, 8, 6)])
def test_the_variance_is_that_of_products_of_unrelated_values(patients: tuple[int, ...]) -> None:
    """The product of two values without common seed and patient has the expectation mean^2: mean^2 less it is left."""
    regions = crossed(np.random.default_rng(1), 4, patients, (1.0, 2.0, 0.5))
    unrelated = 0.0
    for (one, first), (two, second) in itertools.product(enumerate(regions), repeat=2):
        products = [
            first[s, g] * second[z, h]
            for s, z in itertools.permutations(range(4), 2)
            for g, h in itertools.product(range(first.shape[1]), range(second.shape[1]))
            if one != two or g != h
        ]
        unrelated += math.fsum(products) / len(products) / len(regions) ** 2
    mean = np.mean([values.mean() for values in regions])
    assert mean_variance(regions).variance == pytest.approx(mean**2 - unrelated, rel=1e-10)


def test_the_degrees_of_freedom_are_those_of_satterthwaite() -> None:
    seeds, patients = 3, 9
    (values,) = crossed(np.random.default_rng(2), seeds, (patients,), (1.0, 2.0, 0.5))
    whole = values.mean()
    of_seed = patients * sum((values[s].mean() - whole) ** 2 for s in range(seeds)) / (seeds - 1)
    of_patient = seeds * sum((values[:, g].mean() - whole) ** 2 for g in range(patients)) / (patients - 1)
    rest = sum(
        (values[s, g] - values[s].mean() - values[:, g].mean() + whole) ** 2
        for s in range(seeds)
        for g in range(patients)
    ) / ((seeds - 1) * (patients - 1))
    both = of_seed + of_patient - rest
    separate = of_seed**2 / (seeds - 1) + of_patient**2 / (patients - 1) + rest**2 / ((seeds - 1) * (patients - 1))
    found = mean_variance([values])
    assert found.variance == pytest.approx(both / (seeds * patients), rel=1e-12)
    # the parts of patients and rest are combined first, then with that of seeds
    assert found.degrees == pytest.approx(both**2 / separate, rel=1e-12)
    half = student.ppf(0.95, found.degrees) * math.sqrt(found.variance)
    assert found.half_width(0.9) == pytest.approx(half)


def test_one_seed_is_the_interval_of_student_over_patients() -> None:
    values = np.random.default_rng(0).normal(0.1, 1.0, (1, 12))
    low, high = ttest_1samp(values[0], 0).confidence_interval()
    assert mean_variance([values]).half_width() == pytest.approx((high - low) / 2)


def test_patients_without_variance_of_their_own_add_none() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(4, 30))
    values -= values.mean(0)  # all patients have the same mean
    values += rng.normal(size=(4, 1))
    found = mean_variance([values])
    assert found.variance == pytest.approx(values.mean(1).var(ddof=1) / 4)
    assert found.degrees == pytest.approx(3)


def test_equal_values_have_no_variance_and_one_patient_an_unknown_one() -> None:
    assert mean_variance([np.full((3, 5), 0.2)]).half_width() == 0.0
    assert mean_variance([np.ones((3, 5)), np.ones((3, 1))]).half_width() == math.inf


@pytest.mark.parametrize("sd", [(0.0, 1.0, 0.5), (0.2, 1.0, 0.5), (0.3, 0.3, 1.0)])
def test_the_interval_covers_the_mean_about_as_often_as_it_says(sd: tuple[float, float, float]) -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(400):
        regions = crossed(rng, 3, (30, 50), sd)
        covered += abs(np.mean([values.mean() for values in regions])) <= mean_variance(regions).half_width()
    assert 0.9 <= covered / 400 <= 0.985
