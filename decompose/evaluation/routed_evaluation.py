"""Scores of a routed network where the region of an image is unknown.

Shapes: N images, T regions, K outputs of a head.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from lorkit.decompose.artifacts.arrays import Float32Array, Floats, Ints
from lorkit.decompose.data.batches.evaluation_size import eval_batch_size
from lorkit.decompose.data.prepared import PreparedRegion
from lorkit.decompose.documents.heads import CONFIDENCE, GATES, LOGITS, REGION_PROBABILITIES, HeadPolicy, head_output
from lorkit.decompose.evaluation.scoring import score_inputs
from lorkit.decompose.models.region_predictor import RegionPredictor
from lorkit.decompose.models.routed import RoutedModel
from lorkit.decompose.tasks import ScoreInputs
from lorkit.decompose.tasks.routed_answers import routed_answers

RunNetwork = Callable[[Float32Array], Mapping[str, Float32Array]]
"""Images (N, C, *spatial) to outputs by name, as an extracted router has them."""


class RoutedScores(NamedTuple):
    """What is kept of images of one region that a network answered without knowing it.

    Attributes:
        inputs: Inputs of the scores, (N, ...); an answer of another head, or none, counts as wrong.
        region_N: Index of the predicted region.
        confidence_N: Its confidence.
        abstained_N: Whether there was no answer.
    """

    inputs: ScoreInputs
    region_N: Ints
    confidence_N: Floats
    abstained_N: NDArray[np.bool_]


def score_routed(
    run: RunNetwork,
    regions: tuple[str, ...],
    prepared: PreparedRegion,
    *,
    policy: HeadPolicy = "routed",
    abstain_below: float | None = None,
) -> RoutedScores:
    """Run a network on images of one region without telling it which.

    Args:
        run: The network.
        regions: Its regions, in their order.
        prepared: Images of one of them.
        policy: What its answer is.
        abstain_below: Confidence below which it gives none; None: it always answers.
    """
    size = eval_batch_size(prepared.images.shape[2:])
    found: list[RoutedScores] = []
    for start in range(0, len(prepared), size):
        at = slice(start, start + size)
        answers = routed_answers(
            run(np.array(prepared.images[at], order="C")), regions, policy=policy, abstain_below=abstain_below
        )
        outputs = answers.outputs_for(prepared.region, prepared.targets[at])
        inputs = score_inputs(prepared, at, outputs)
        confidence_N = np.asarray(answers.confidence_N, dtype=np.float64)
        found.append(RoutedScores(inputs, answers.region_N, confidence_N, answers.abstained_N))
    return RoutedScores(*(np.concatenate(parts) for parts in zip(*found, strict=True)))


def region_confidences(run: RunNetwork, images: Float32Array) -> tuple[Ints, Floats]:
    """Return the predicted region (N,) and its confidence (N,) of any images (N, C, *spatial)."""
    size = eval_batch_size(images.shape[2:])
    rows = [run(np.array(images[start : start + size], order="C")) for start in range(0, len(images), size)]
    region_N = np.concatenate([row[REGION_PROBABILITIES].argmax(1) for row in rows])
    return region_N, np.concatenate([row[CONFIDENCE] for row in rows]).astype(np.float64)


def live_router(model: RoutedModel, predictor: RegionPredictor, policy: HeadPolicy = "routed") -> RunNetwork:
    """Return a trained model as a network of unknown regions, with the outputs that an extracted router has."""

    @torch.inference_mode()
    def run(images: Float32Array) -> Mapping[str, Float32Array]:
        image = torch.tensor(images).to(model.normalise.mean.device)
        with_heads = model.eval().every_head(image)
        probabilities, confidence = predictor.to(image.device)(with_heads.gating.hidden)
        outputs = {head_output(name): logits for name, logits in with_heads.logits.items()}
        outputs |= {REGION_PROBABILITIES: probabilities, CONFIDENCE: confidence, GATES: with_heads.gating.gates}
        if policy == "weighted":
            shares = probabilities.T.unflatten(1, (-1, *(1,) * (next(iter(outputs.values())).dim() - 1)))
            outputs[LOGITS] = sum(share * one for share, one in zip(shares, with_heads.logits.values(), strict=True))
        return {name: value.float().cpu().numpy() for name, value in outputs.items()}

    return run
