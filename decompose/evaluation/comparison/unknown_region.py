"""Scores of a cell whose network needs no region: of the same images, without telling it theirs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lorkit.decompose.artifacts.arrays import Ints
from lorkit.decompose.data.prepared import PreparedRegion
from lorkit.decompose.documents.compare import UnknownRegion
from lorkit.decompose.documents.heads import HeadPolicy
from lorkit.decompose.evaluation.comparison.costs import deployed_cost
from lorkit.decompose.evaluation.comparison.score_blocks import Parts, Policies, score_blocks
from lorkit.decompose.evaluation.region_calibration import fit_region_predictor
from lorkit.decompose.evaluation.routed_evaluation import live_router
from lorkit.decompose.evaluation.unknown_regions import RunRouter, region_prediction, score_unknown
from lorkit.decompose.models.deployed_mixtures import router_network
from lorkit.decompose.models.regional import RegionalModel, SeparateModels
from lorkit.decompose.models.routed import RoutedModel
from lorkit.decompose.tasks import ScoreInputs


@dataclass(frozen=True, kw_only=True)
class UnknownScores:
    """Scores of one part of the data where the region is unknown.

    Attributes:
        document: Results, and how the regions were chosen.
        score_inputs: By region.
        predicted: By true region, the index of the predicted region of each image.
    """

    document: UnknownRegion
    score_inputs: Mapping[str, ScoreInputs]
    predicted: Mapping[str, Ints]


def same_recipe(parts: Mapping[str, PreparedRegion]) -> bool:
    """Return whether images of all regions are prepared alike, as they must be where the region is unknown."""
    first, *others = parts.values()
    return all(one.recipe == first.recipe for one in others)


def score_without_regions(
    live: RegionalModel | SeparateModels, parts: Parts, policy: HeadPolicy, thresholds: Policies
) -> dict[str, UnknownScores]:
    """Score a trained model on each part without telling it the regions; it always answers.

    Args:
        live: The model.
        parts: Samples by part and region; `val` is one of them.
        policy: What its answer is.
        thresholds: By region, how validation chooses them.

    Returns:
        By part; empty if the model has no router or one region, or its regions are prepared differently.
    """
    if not isinstance(live, RoutedModel) or len(live.regions) < 2 or not same_recipe(parts["val"]):
        return {}
    first = next(iter(parts["val"].values()))
    # nothing is refused, so the Gaussians of the confidence have no effect
    predictor = fit_region_predictor(live, parts["val"], parts["val"])
    router = RunRouter(live_router(live, predictor, policy), live.regions.names, first.recipe, policy, 0.0, "live")
    costs = deployed_cost([router_network(live, predictor, policy)], tuple(first.images.shape[1:]))
    found = {split: score_unknown(router, part) for split, part in parts.items()}
    inputs = {split: {name: one.inputs for name, one in scores.items()} for split, scores in found.items()}
    blocks = score_blocks(inputs, parts, thresholds)
    return {
        split: UnknownScores(
            document=UnknownRegion(
                regions=blocks[split], prediction=region_prediction(router, parts[split], scores), costs=costs
            ),
            score_inputs=inputs[split],
            predicted={name: one.region_N for name, one in scores.items()},
        )
        for split, scores in found.items()
    }
