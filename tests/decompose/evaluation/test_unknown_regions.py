"""The confusion of regions and images of no region, from outputs by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from routed_models import routed_images

from lorkit.decompose.artifacts.arrays import Float32Array
from lorkit.decompose.artifacts.keys import DirectoryKey
from lorkit.decompose.evaluation.routed_evaluation import RoutedScores
from lorkit.decompose.evaluation.unknown_regions import RunRouter, evaluate_outside, region_prediction, score_unknown

IMAGES = {"a": routed_images("a", 6, 0), "b": routed_images("b", 4, 1)}


def by_brightness(images: Float32Array) -> dict[str, Float32Array]:
    """Bright images are of region b; the confidence falls with the contrast."""
    level = images.mean((1, 2, 3))
    share = (level > 0.6).astype(np.float32)
    return {
        "region_probabilities": np.stack([1 - share, share], 1),
        "confidence": np.clip(1 - images.std((1, 2, 3)), 0, 1).astype(np.float32),
        "logits_a": np.tile(np.array([1, 0], np.float32), (len(images), 1)),
        "logits_b": np.tile(np.array([1, 0, 0], np.float32), (len(images), 1)),
    }


def router(abstain_below: float) -> RunRouter:
    return RunRouter(by_brightness, ("a", "b"), IMAGES["a"].recipe, "routed", abstain_below, "live")


def test_shares_count_every_image_and_the_confusion_only_answers() -> None:
    found = {
        "a": RoutedScores(np.zeros((6, 2)), np.array([0, 0, 0, 0, 1, 0]), np.ones(6), np.array([0, 1, 0, 0, 0, 0]) > 0),
        "b": RoutedScores(np.zeros((4, 3)), np.array([1, 1, 0, 1]), np.ones(4), np.array([0, 0, 0, 1]) > 0),
    }
    document = region_prediction(router(0.5), IMAGES, found)
    assert document.regions["a"].right == pytest.approx(5 / 6)
    assert document.regions["b"].right == pytest.approx(3 / 4)
    assert document.right == pytest.approx((5 / 6 + 3 / 4) / 2)
    assert document.ci[0] < document.right < document.ci[1] <= 1
    assert document.abstained == pytest.approx(2 / 10)
    assert document.confusion_by_region == {
        "a": {"a": 4, "b": 1, "(abstained)": 1},
        "b": {"a": 1, "b": 2, "(abstained)": 1},
    }


def test_images_of_no_region_are_counted_by_their_own_label(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    flat, busy = rng.integers(90, 100, (5, 32, 32)), rng.choice([0, 255], (7, 32, 32))
    images = np.concatenate([flat, busy]).astype(np.uint8)
    labels = np.array([0] * 5 + [1] * 7)
    np.savez(tmp_path / "x.npz", images=images, labels=labels, label_names=np.array(["hand", "foot"]))
    some = router(0.6)
    found = score_unknown(some, IMAGES)
    document = evaluate_outside(some, tmp_path / "x.npz", IMAGES, found, DirectoryKey(tmp_path))
    assert document.n == 12
    assert document.answered_as == {
        "hand": {"a": 5, "b": 0, "(abstained)": 0},
        "foot": {"a": 0, "b": 0, "(abstained)": 7},
    }
    assert document.abstained == pytest.approx(7 / 12)
    own = np.concatenate([scores.confidence_N for scores in found.values()])
    theirs = by_brightness(images[:, None].astype(np.float32) / 255)["confidence"]
    wins = (own[:, None] > theirs).mean() + 0.5 * (own[:, None] == theirs).mean()
    assert document.auroc == pytest.approx(wins)
    assert document.ci is not None
    assert document.ci[0] <= document.auroc <= document.ci[1]
