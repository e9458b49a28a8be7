from __future__ import annotations

import json
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from lorkit.decompose.data.preprocessing import region_check
from lorkit.decompose.documents.base import parse
from lorkit.decompose.documents.network import RegionCheck, RegionModel
from lorkit.decompose.errors import ArtifactError, DataError

Images = NDArray[np.float32]

MANY = region_check.DIRECTIONS * region_check.GROUPS_PER_DIRECTION  # groups that give all directions


def discs(n: int, *, channels: int = 1, seed: int = 0, inverted: bool = False) -> Images:
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:32, :32] / 31
    centre, radius = rng.uniform(0.4, 0.6, (2, n, 1, 1)), rng.uniform(0.2, 0.3, (n, 1, 1))
    image = 0.2 + 0.6 * ((y - centre[0]) ** 2 + (x - centre[1]) ** 2 < radius**2) + rng.normal(0, 0.05, (n, 32, 32))
    image = np.clip(1 - image if inverted else image, 0, 1)
    return np.repeat(image[:, None], channels, axis=1).astype(np.float32)


@pytest.fixture(scope="module")
def model() -> RegionCheck:
    return region_check.calibrate(region_check.fit(discs(400), groups=MANY), discs(300, seed=1))


def test_images_of_the_region_pass_and_others_do_not(model: RegionCheck) -> None:
    assert region_check.refusal_rate(model, discs(500, seed=2)) == pytest.approx(0.01, abs=0.02)
    noise = np.random.default_rng(0).random((50, 1, 32, 32)).astype(np.float32)
    for foreign in (noise, np.zeros((5, 1, 32, 32), np.float32), discs(50, seed=3, inverted=True)):
        assert region_check.refusal_rate(model, foreign) == 1.0


def test_the_limit_refuses_at_most_one_in_a_hundred_validation_images(model: RegionCheck) -> None:
    assert (region_check.refusal_rate(model, discs(300, seed=1)) or 0) <= region_check.FALSE_REFUSALS


@pytest.mark.parametrize("n", [1, 50, 98, 99, 100, 149, 199, 200, 250, 300])
def test_an_unseen_image_is_refused_with_at_most_the_stated_probability(
    model: RegionCheck, monkeypatch: pytest.MonkeyPatch, n: int
) -> None:
    """Of n + 1 exchangeable images, the unseen one is within the k smallest others with probability k / (n + 1)."""
    found = np.random.default_rng(0).permutation(n) + 1.0
    monkeypatch.setattr(region_check, "distances", lambda *_: found)
    least = [k for k in range(1, n + 1) if Fraction(k, n + 1) >= Fraction(99, 100)]
    limit = region_check.calibrate(model, discs(1)).limit
    assert min(least, default=n) <= limit < min(least, default=n) + 0.06, "the largest, if no number suffices"


def test_the_model_survives_json_and_judges_one_image(model: RegionCheck) -> None:
    text = json.dumps(model.to_json())
    again = RegionCheck.model_validate(json.loads(text))
    image = discs(1, seed=4)[0]
    distance, limit, inside = region_check.check(again, image)
    assert inside
    assert distance == region_check.check(model, image)[0] < limit
    assert len(text) < 30_000


def test_distance_equals_the_formula_of_the_full_covariance(model: RegionCheck) -> None:
    basis, variances = np.array(model.directions), np.array(model.variances)
    covariance = basis.T @ np.diag(variances - model.rest) @ basis + model.rest * np.eye(basis.shape[1])
    images = discs(5, seed=5)
    centred = (region_check.fingerprint(images) - model.mean) / np.array(model.scale)
    squared = np.einsum("nf,fg,ng->n", centred, np.linalg.inv(covariance), centred)
    np.testing.assert_allclose(region_check.distances(model, images), np.sqrt(squared / basis.shape[1]), rtol=1e-3)


def test_the_model_is_that_of_probabilistic_principal_components() -> None:
    """Against singular values of the standardised fingerprints: no covariance and no eigenvalues of it."""
    images = discs(60)
    raw = region_check.fingerprint(images)
    model = region_check.fit(images, groups=MANY)
    scale = np.maximum(raw.std(0), 0.01)
    np.testing.assert_allclose(model.mean, raw.mean(0), atol=1e-5)
    np.testing.assert_allclose(model.scale, scale, atol=1e-5)
    _, singular, rows = np.linalg.svd((raw - raw.mean(0)) / scale, full_matrices=False)
    variances = np.r_[singular**2 / 59, np.zeros(raw.shape[1] - len(singular))]
    np.testing.assert_allclose(model.variances, variances[: region_check.DIRECTIONS], rtol=1e-3, atol=1e-4)
    assert model.rest == pytest.approx(max(variances[region_check.DIRECTIONS :].mean(), 0.01), abs=1e-4)
    same = np.abs(np.array(model.directions) @ rows[: region_check.DIRECTIONS].T)
    np.testing.assert_allclose(same, np.eye(region_check.DIRECTIONS), atol=0.02)
    assert (model.trained_on, model.channels) == (60, 1)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_fingerprint_is_thumbnail_contrast_sharpness_levels_and_colour(channels: int) -> None:
    images = np.random.default_rng(0).random((3, channels, 16, 24)).astype(np.float32)
    for found, image in zip(region_check.fingerprint(images), images.astype(np.float64), strict=True):
        gray = image.mean(0)
        wanted = [
            gray.reshape(8, 2, 8, 3).mean((1, 3)).ravel(),
            [gray.std(), np.abs(gray[1:] - gray[:-1]).mean(), np.abs(gray[:, 1:] - gray[:, :-1]).mean()],
            np.quantile(gray, [0.02, 0.25, 0.5, 0.75, 0.98]),
            image.mean((1, 2)) - gray.mean() if channels == 3 else [],
        ]
        np.testing.assert_allclose(found, np.concatenate(wanted), atol=1e-6)


@pytest.mark.parametrize("size", [(32, 32), (3, 5), (24, 40), (61, 24), (100, 100), (120, 96), (192, 200)])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_fingerprint_is_bit_for_bit_that_of_the_plain_formulas(size: tuple[int, int], channels: int) -> None:
    """Of many images at once, by one call of Pillow, by sorting or counting: checks that are stored depend on it."""
    rng = np.random.default_rng(sum(size))
    noise = rng.random((40, channels, *size), dtype=np.float32)
    pixels = rng.integers(0, 256, noise.shape).astype(np.float32) / np.float32(255)
    pixels[:, :, : size[0] // 2] = 0  # most of a frame is black
    constant = np.full((1, channels, *size), 1, np.float32)
    for images in (noise, pixels, constant):
        gray = images.astype(np.float64).mean(1)
        flat = gray.reshape(len(gray), -1)
        small = [Image.fromarray(one.astype(np.float32)).resize((8, 8), Image.Resampling.BOX) for one in gray]
        wanted = [
            np.stack([np.asarray(one).ravel() for one in small]),
            flat.std(1, keepdims=True),
            *(np.abs(np.diff(gray, axis=axis)).mean((1, 2))[:, None] for axis in (1, 2)),
            np.quantile(flat, region_check.QUANTILES, axis=1).T,
            *([images.astype(np.float64).mean((2, 3)) - flat.mean(1, keepdims=True)] if channels == 3 else []),
        ]
        np.testing.assert_array_equal(region_check.fingerprint(images), np.concatenate(wanted, axis=1))


def test_the_fingerprint_of_a_volume_is_that_of_its_middle_slices() -> None:
    volume = np.random.default_rng(0).random((2, 1, 8, 16, 24)).astype(np.float32)
    slices = volume[:, :, 4], volume[:, :, :, 8], volume[..., 12]
    wanted = np.concatenate([region_check.fingerprint(np.ascontiguousarray(one)) for one in slices], axis=1)
    np.testing.assert_array_equal(region_check.fingerprint(volume), wanted)


def test_colour_is_part_of_the_fingerprint() -> None:
    model = region_check.calibrate(region_check.fit(discs(200, channels=3)), discs(100, channels=3, seed=1))
    red = discs(20, channels=3, seed=2)
    red[:, 1:] *= 0.4
    red /= red.mean((1, 2, 3), keepdims=True) / 0.3
    assert region_check.refusal_rate(model, red) == 1.0


@pytest.mark.parametrize(
    ("key", "cut", "required"),
    [
        ("mean", 1, "72 means, or 216 for volumes, with 1 channel"),
        ("scale", 1, "72 scales, one per mean"),
        ("directions", 1, "12 directions, one per variance, of 72 values each, one per mean"),
        ("variances", 2, "10 directions, one per variance, of 72 values each, one per mean"),
    ],
)
def test_a_model_whose_arrays_do_not_fit_is_refused(model: RegionCheck, key: str, cut: int, required: str) -> None:
    stored = model.to_json()
    with pytest.raises(ArtifactError, match=f"required: {required}; build it again$"):
        parse(RegionCheck, {**stored, key: stored[key][:-cut]}, "expert.json")


def test_a_direction_that_is_too_short_and_other_channels_are_refused(model: RegionCheck) -> None:
    first, *others = model.directions
    with pytest.raises(ArtifactError, match="of 72 values each"):
        parse(RegionCheck, {**model.to_json(), "directions": [first[:-1], *others]}, "expert.json")
    with pytest.raises(ArtifactError, match="75 means, or 225 for volumes, with 3 channels"):
        parse(RegionCheck, {**model.to_json(), "channels": 3}, "expert.json")


@pytest.mark.parametrize("channels", [1, 3])
def test_the_model_of_volumes_survives_json(channels: int) -> None:
    volumes = np.random.default_rng(0).random((4, channels, 9, 10, 11)).astype(np.float32)
    model = region_check.calibrate(region_check.fit(volumes), volumes)
    assert parse(RegionCheck, model.to_json(), "expert.json") == model


def test_few_images_still_give_a_check_and_one_does_not() -> None:
    model = region_check.calibrate(region_check.fit(discs(5)), discs(3, seed=1))
    assert region_check.check(model, discs(3, seed=1)[0])[2]
    with pytest.raises(DataError, match="at least two"):
        region_check.fit(discs(1))
    with pytest.raises(DataError, match="no validation images"):
        region_check.calibrate(model, discs(3)[:0])


def auc(members: NDArray[np.float64], others: NDArray[np.float64]) -> float:
    """Return the probability that an attack scores a member higher than somebody else; ties count half."""
    pairs = members[:, None] - others[None]
    return float((pairs > 0).mean() + (pairs == 0).mean() / 2)


def varied(n: int, seed: int) -> Images:
    """Draw discs of other brightness, contrast and grain in each image, as scanners differ."""
    rng = np.random.default_rng(seed)
    low, high, grain = (rng.uniform(*span, (n, 1, 1, 1)) for span in ((0, 0.4), (0.5, 1), (0, 0.3)))
    images = low + (high - low) * discs(n, seed=seed) + grain * rng.normal(0, 1, (n, 1, 32, 32))
    return np.clip(images, 0, 1).astype(np.float32)


def attacks(model: RegionModel, images: Images) -> list[NDArray[np.float64]]:
    """Score images as an attacker with the stored model does: near its centre, along its directions, at its edges."""
    centred = (region_check.fingerprint(images) - model.mean) / np.array(model.scale)
    along = centred @ np.array(model.directions).reshape(-1, centred.shape[1]).T
    squared, beyond = (centred**2).sum(1), np.abs(np.abs(centred) - 1)
    outside = squared - (along**2).sum(1)
    near = [-region_check.distances(model, images), -outside, -squared, -outside / (squared + 1e-9)]
    near += [-(np.abs(centred) > 1 + 1e-4).sum(1)]  # how many values are out of range
    return [*near, -beyond.min(1), -np.sort(beyond, axis=1)[:, :5].mean(1), np.abs(centred).max(1)]


@pytest.mark.parametrize("draw", [discs, varied])
@pytest.mark.parametrize("groups", [2, 3, 4, 9, 10, 29, 30, 59, 60, 120, 300])
def test_the_check_does_not_tell_who_was_in_training(groups: int, draw: Callable[..., Images]) -> None:
    """Statistics of as many, which more patients would give, do tell: the attacks are those that work."""
    found: dict[int, list[list[float]]] = {groups: [], MANY: []}
    for seed in range(30 if groups < 29 else 6):
        members, others = draw(groups, seed=2 * seed), draw(60, seed=2 * seed + 1)
        for stated in found:
            model = region_check.fit(members, groups=stated)
            found[stated].append(
                [auc(*pair) for pair in zip(attacks(model, members), attacks(model, others), strict=True)]
            )
    assert np.mean(found[groups], axis=0).max() <= 0.6
    if draw is discs:
        assert np.mean(found[MANY], axis=0).max() > (0.9 if groups <= 30 else 0.63)


def test_ranges_are_rounded_shared_and_hold_their_images() -> None:
    images = discs(10, channels=3)
    model = region_check.calibrate(region_check.fit(images, groups=10), discs(4, channels=3, seed=1))
    assert model.directions == model.variances == []
    edges = np.array([np.array(model.mean) - model.scale, np.array(model.mean) + model.scale])
    np.testing.assert_allclose(edges * 10, np.round(edges * 10), atol=1e-3)
    raw = region_check.fingerprint(images)
    assert (raw >= edges[0] - 1e-4).all()
    assert (raw <= edges[1] + 1e-4).all()
    assert len(set(zip(*edges.tolist(), strict=True))) <= 5  # kinds of values
    assert model.limit * 4 == int(model.limit * 4) >= 4
    assert region_check.refusal_rate(model, images) == 0
    noise = np.random.default_rng(0).random((9, 3, 32, 32)).astype(np.float32)
    for foreign in (noise, np.zeros_like(noise), np.ones_like(noise)):
        assert region_check.refusal_rate(model, foreign) == 1


def test_the_number_of_directions_follows_that_of_patients() -> None:
    images = discs(80)
    for groups in (59, 60, 119, 120, MANY - 1, MANY, 10 * MANY):
        assert len(region_check.fit(images, groups=groups).directions) == max(min(groups // 60, 12), 1)
    assert region_check.fit(images, groups=29).directions == []


def test_mean_and_scale_of_thirty_patients_are_rounded() -> None:
    images = discs(40)
    model, raw = region_check.fit(images, groups=30), region_check.fingerprint(images)
    np.testing.assert_allclose(model.mean, raw.mean(0), atol=0.01001)
    for stored in (np.array(model.mean), np.array(model.scale)):
        np.testing.assert_allclose(stored * 50, np.round(stored * 50), atol=1e-3)
    assert (model.scale >= raw.std(0)).all()
    distances = np.sqrt((((raw - model.mean) / model.scale) ** 2).mean(1))
    np.testing.assert_allclose(region_check.distances(model, images), distances, rtol=1e-3)
    assert region_check.fit(images[:32], groups=32).directions == model.directions, "of no image"
    volumes = np.repeat(discs(4)[:, :, None], 32, axis=2)
    assert len(region_check.fit(volumes).mean) == 3 * 72


def test_other_channels_and_versions_are_refused(model: RegionCheck) -> None:
    with pytest.raises(DataError, match="3 channel"):
        region_check.check(model, discs(1, channels=3)[0])
    with pytest.raises(ArtifactError, match="states version as 9; required: 1; use the lorkit version"):
        parse(RegionCheck, {**model.to_json(), "version": 9}, "expert.json")
    assert region_check.refusal_rate(model, discs(3)[:0]) is None


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("n", [2, 7, 32, 300])
def test_the_distance_of_an_image_does_not_depend_on_those_beside_it(n: int, channels: int) -> None:
    images = discs(n, channels=channels, seed=4)
    model = region_check.calibrate(region_check.fit(images), images)
    alone = [region_check.check(model, image) for image in images]
    assert region_check.check_all(model, images) == alone, "bit for bit"
