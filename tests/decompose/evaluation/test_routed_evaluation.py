"""Scores of images whose region is unknown, from outputs by hand and from a live model."""

from __future__ import annotations

import numpy as np
import torch
from routed_models import make_routed, routed_images

from lorkit.decompose.evaluation.routed_evaluation import live_router, region_confidences, score_routed
from lorkit.decompose.models.region_predictor import RegionPredictor


def test_answers_of_other_heads_and_abstentions_are_wrong() -> None:
    images = routed_images("a", 4, 0)
    outputs = {
        "region_probabilities": np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.7, 0.3]], np.float32),
        "confidence": np.array([0.9, 0.8, 0.1, 0.7], np.float32),
        "logits_a": np.array([[3.0, 1.0], [2.0, 0.0], [5.0, 1.0], [0.0, 1.0]], np.float32),
        "logits_b": np.zeros((4, 3), np.float32),
    }
    found = score_routed(lambda batch: outputs, ("a", "b"), images, abstain_below=0.5)
    assert found.region_N.tolist() == [0, 1, 0, 0]
    assert found.abstained_N.tolist() == [False, False, True, False]
    assert (found.inputs.argmax(1) == 0).tolist() == [True, False, False, False]  # all labels are 0
    always = score_routed(lambda batch: outputs, ("a", "b"), images)
    assert (always.inputs.argmax(1) == 0).tolist() == [True, False, True, False]


def test_a_live_model_answers_with_the_head_of_the_predicted_region() -> None:
    _, module = make_routed()
    model = module.live.float().eval()
    predictor = RegionPredictor(model.region_head)
    images = routed_images("b", 5, 3)
    run = live_router(model, predictor)
    outputs = run(images.images)
    image = torch.from_numpy(images.images.copy())
    with torch.no_grad():
        known = model.routed(image, "b")
    np.testing.assert_allclose(outputs["logits_b"], known.heads.logits["b"], atol=1e-5)
    np.testing.assert_allclose(outputs["region_probabilities"], known.regions.softmax(1), atol=1e-6)
    assert outputs["confidence"].shape == (5,)
    region_N, confidence_N = region_confidences(run, images.images)
    assert region_N.tolist() == known.regions.argmax(1).tolist()
    np.testing.assert_allclose(confidence_N, outputs["confidence"])


def test_a_weighted_answer_is_the_mean_of_heads_by_probability() -> None:
    _, module = make_routed()
    model = module.live.float().eval()
    images = routed_images("a", 3, 1).images
    model.heads["b"] = torch.nn.Linear(model.heads["a"].in_features, 2)
    outputs = live_router(model, RegionPredictor(model.region_head), "weighted")(images)
    share = outputs["region_probabilities"]
    expected = share[:, :1] * outputs["logits_a"] + share[:, 1:] * outputs["logits_b"]
    np.testing.assert_allclose(outputs["logits"], expected, atol=1e-5)
