"""Drawing primitives: geometry, ranges, and draws by name."""

from __future__ import annotations

import numpy as np
import pytest

from lorkit.decompose.data.phantoms.canvas import SIDE, Canvas, Draws
from lorkit.decompose.data.random_numbers import keys


@pytest.fixture
def canvas() -> Canvas:
    patients = np.arange(400) // 2
    patient = keys(1, patients)
    return Canvas(Draws(patient, keys(patient, np.arange(400) % 2)))


def test_pictures_of_a_patient_share_anatomy_but_not_pose(canvas: Canvas) -> None:
    anatomy, pose = canvas.draws("heart", 0, 1), canvas.draws("pose", 0, 1, of="picture")
    assert (anatomy[0::2] == anatomy[1::2]).all()
    assert (pose[0::2] != pose[1::2]).any()
    assert anatomy.shape == (400, 1, 1)
    assert (canvas.draws("lung", 0, 1) != anatomy).any()


def test_chance_and_side_keep_their_shares(canvas: Canvas) -> None:
    assert canvas.draws.chance("x", 0.3).mean() == pytest.approx(0.3, abs=0.12)
    assert set(np.unique(canvas.draws.side("y"))) == {-1.0, 1.0}


def test_ellipse_covers_its_area_and_stays_in_the_unit_range(canvas: Canvas) -> None:
    canvas.u, canvas.v = np.meshgrid(*[(2 * np.arange(SIDE, dtype=np.float32) + 1 - SIDE) / SIDE] * 2)
    mask = canvas.ellipse(0.1, -0.2, 0.5, 0.3, 1e4)
    assert mask.min() == 0
    assert mask.max() == 1
    assert mask.sum() * (2 / SIDE) ** 2 == pytest.approx(np.pi * 0.5 * 0.3, rel=0.02)


def test_band_is_straight_thin_and_finite(canvas: Canvas) -> None:
    canvas.u, canvas.v = np.meshgrid(*[(2 * np.arange(SIDE, dtype=np.float32) + 1 - SIDE) / SIDE] * 2)
    mask = canvas.band(0.0, 0.0, np.float32(1.0), 0.08, 0.4) > 0.5
    rows, columns = np.nonzero(mask)
    assert np.corrcoef(rows, columns)[0, 1] > 0.9
    assert np.hypot(rows - SIDE / 2, columns - SIDE / 2).max() < 0.45 * SIDE / 2


def test_paint_covers_and_add_adds(canvas: Canvas) -> None:
    canvas.paint(np.ones_like(canvas.image), 0.5)
    canvas.add(np.ones_like(canvas.image), 0.25)
    assert (canvas.image == np.float32(0.75)).all()
    assert (canvas.pixels() == 191).all()


def test_fields_are_float32_and_noise_is_standard(canvas: Canvas) -> None:
    noise, texture = canvas.noise("n"), canvas.texture("t")
    assert noise.dtype == texture.dtype == canvas.image.dtype == np.float32
    assert noise.mean() == pytest.approx(0, abs=0.01)
    assert noise.std() == pytest.approx(1, abs=0.01)
    assert np.abs(texture).max() <= 1
    assert np.abs(np.diff(texture, axis=1)).max() <= 2 * 2 / 8 + 1e-6  # linear between nodes eight pixels apart


def test_wave_and_step(canvas: Canvas) -> None:
    np.testing.assert_allclose(canvas.wave(np.array([0.0, 0.5, 1.25])), [0, 1, 0.75])
    np.testing.assert_allclose(canvas.step(np.array([-1.0, 0.0, 1.0]), 2), [0, 0.5, 1])
