"""The regions conflict: one cue, another meaning."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lorkit.decompose.data.phantoms import anatomy
from lorkit.decompose.data.phantoms import reader as phantom

PATIENTS = np.arange(300)


def shares(monkeypatch: pytest.MonkeyPatch, region: str, cue: str) -> list[float]:
    """How often a cue is shown in each class of a region."""
    shown: list[np.ndarray] = []
    draw = getattr(anatomy, cue)

    def record(canvas: Any, mask: Any, *rest: Any) -> None:
        shown.append(mask.reshape(len(mask), -1).max(axis=1) > 0.5)
        draw(canvas, mask, *rest)

    monkeypatch.setattr(anatomy, cue, record)
    monkeypatch.setattr(phantom, "usable_threads", lambda: 1)  # chunks are recorded in order
    phantom.draw(region, PATIENTS, PATIENTS * 0)
    seen, labels = np.concatenate(shown), phantom.labels_of(region, PATIENTS)
    return [float(seen[labels == label].mean()) for label in range(3)]


@pytest.mark.parametrize(
    ("region", "cue", "telling"),
    [("chest", "blob", 2), ("breast", "blob", 2), ("knee", "band", 2)],
)
def test_the_cue_tells_the_class_here(monkeypatch: pytest.MonkeyPatch, region: str, cue: str, telling: int) -> None:
    assert shares(monkeypatch, region, cue) == [float(label == telling) for label in range(3)]


@pytest.mark.parametrize(
    ("region", "cue"), [("brain", "blob"), ("knee", "blob"), ("chest", "band"), ("brain", "band"), ("breast", "band")]
)
def test_the_same_cue_means_nothing_there(monkeypatch: pytest.MonkeyPatch, region: str, cue: str) -> None:
    found = shares(monkeypatch, region, cue)
    assert min(found) > 0.15
    assert max(found) < 0.65


@pytest.mark.parametrize("region", anatomy.ANATOMIES)
def test_pixels_use_the_range_without_saturating(region: str) -> None:
    images = phantom.draw(region, PATIENTS[:60], PATIENTS[:60] * 0)
    assert images.max() > 180
    assert (images == 255).mean() < 0.05
    assert images.std(axis=(1, 2)).min() > 10


@pytest.mark.parametrize("region", anatomy.ANATOMIES)
def test_classes_differ_but_not_in_what_a_linear_map_of_pixels_sees(region: str) -> None:
    """A ridge regression on coarse pixels stays well below what a network reaches (0.9 and more)."""
    patients = np.arange(600)
    images = phantom.draw(region, patients, patients * 0)
    coarse = images.reshape(600, 16, 4, 16, 4).mean(axis=(2, 4)).reshape(600, -1) / 255
    coarse = np.hstack([coarse - coarse[:400].mean(axis=0), np.ones((600, 1))])
    labels = phantom.labels_of(region, patients)
    gram = coarse[:400].T @ coarse[:400] + 5 * np.eye(coarse.shape[1])
    weights = np.linalg.solve(gram, coarse[:400].T @ np.eye(3)[labels[:400]])
    accuracy = ((coarse[400:] @ weights).argmax(axis=1) == labels[400:]).mean()
    assert 0.36 < accuracy < 0.9
